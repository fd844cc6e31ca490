package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// namePrefix begins the name that a connection is given in Redis; the run ID follows.
const namePrefix = "signet-"

// idLength is the length of run IDs and replication IDs, in hexadecimal digits.
const idLength = 40

// errAnother is an answer that was late for an earlier question on that connection. go-redis is relied on to close such
// connections; this is in case that it does not.
var errAnother = errors.New("redis answered another question than the one asked")

// errUnproven is an answer without a proof, as where the user may not run what the proof needs.
var errUnproven = errors.New("redis does not say who it is; may the user run INFO, ECHO, CLIENT SETNAME and CLIENT GETNAME?")

// name notes the run ID of the server with the connection itself, in Redis. The server that has the name has the run ID: a
// restart ends the connection. Read back at the end of each pipeline it costs less than another INFO (BenchmarkProof), and
// it cannot be mistaken for another connection's as a variable here could.
func (s *Set) name(ctx context.Context, conn *redis.Conn) error {
	info, err := conn.Info(ctx, "server").Result()
	if err != nil {
		return fmt.Errorf("ask redis for its run ID: %w", err)
	}
	runID, ok := infoField(info, "run_id")
	if !ok || !isID(runID) {
		return errUnproven
	}
	if err := conn.ClientSetName(ctx, namePrefix+runID).Err(); err != nil {
		return fmt.Errorf("name the redis connection: %w", err)
	}
	s.log.DebugContext(ctx, "connected to redis", slog.String("run_id", runID))
	return nil
}

// nameIfAllowed is name for clients with Sentinel: go-redis calls it for connections to Sentinels too, which need no name and
// where a careful operator's user may not ask for one. A connection to Redis without a name is never believed.
func (s *Set) nameIfAllowed(ctx context.Context, conn *redis.Conn) error {
	err := s.name(ctx, conn)
	if _, refused := errors.AsType[redis.Error](err); refused {
		s.log.DebugContext(ctx, "redis connection has no name", slog.String("error", unquoted(err).Error()))
		return nil
	}
	return err
}

// ask sends commands in one round trip that ends with the proof that it was id who answered, and this question, and returns
// their answers. An error reply to any of them is an error. They are separate commands: of two, the first may have happened
// when the second failed.
func (s *Set) ask(ctx context.Context, id revocations.Identity, commands ...[]any) ([]any, error) {
	who, answers, err := s.exchange(ctx, commands)
	switch {
	case err != nil && who == "":
		return nil, err
	case who != id: // before err: that another one answered is the better reason
		return nil, revocations.ErrIdentity
	case err != nil:
		return nil, err
	}
	return answers, nil
}

// exchange is ask of whoever answers. With an identity, the error is of a command; without, the proof is missing.
func (s *Set) exchange(ctx context.Context, commands [][]any) (revocations.Identity, []any, error) {
	pipe := s.client.Pipeline()
	sent := make([]*redis.Cmd, len(commands))
	for i, c := range commands {
		sent[i] = pipe.Do(ctx, c...)
	}
	question := strconv.FormatUint(s.questions.Add(1), 10)
	replication, name, echo := pipe.Do(ctx, "info", "replication"), pipe.Do(ctx, "client", "getname"), pipe.Do(ctx, "echo", question)
	_, failed := pipe.Exec(ctx) // the one place for the reason where Redis has refused the connection
	who, err := s.identify(replication, name)
	if echoed, echoErr := echo.Text(); err == nil && (echoErr != nil || echoed != question) {
		err = errAnother
	}
	if err != nil {
		if failed != nil && !errors.Is(failed, redis.Nil) && !errors.Is(err, revocations.ErrIdentity) {
			err = failed
		}
		return "", nil, unquoted(fmt.Errorf("ask redis: %w", err))
	}
	answers := make([]any, len(sent))
	for i, c := range sent {
		if answers[i] = c.Val(); c.Err() != nil {
			return who, nil, unquoted(fmt.Errorf("redis refused %v: %w", c.Name(), c.Err()))
		}
	}
	return who, answers, nil
}

// unquoted takes from an error what Redis quotes of a command that it does not know: where that is AUTH, the password.
func unquoted(err error) error {
	if text, _, quotes := strings.Cut(err.Error(), ", with args"); quotes {
		return errors.New(text)
	}
	return err
}

// identify makes the identity from the two answers that end each round trip. ErrIdentity where it is no primary.
func (s *Set) identify(replication, name *redis.Cmd) (revocations.Identity, error) {
	info, infoErr := replication.Text()
	named, nameErr := name.Text()
	if infoErr != nil || nameErr != nil {
		return "", fmt.Errorf("%w (%w)", errUnproven, errors.Join(infoErr, nameErr))
	}
	runID, found := strings.CutPrefix(named, namePrefix)
	role, hasRole := infoField(info, "role")
	replID, hasReplID := infoField(info, "master_replid")
	switch {
	case !found || !isID(runID) || !hasRole || !hasReplID || !isID(replID):
		return "", errUnproven
	case role != "master":
		return "", fmt.Errorf("%w: its role is %s", revocations.ErrIdentity, role)
	}
	// The database is part of it, because replicas that were given different ones would not see each other's entries.
	return revocations.Identity(runID + "-" + replID + "-" + s.database), nil
}

// infoField returns the value of a field of an INFO answer, which is there exactly once.
func infoField(info, name string) (string, bool) {
	value, times := "", 0
	for line := range strings.SplitSeq(info, "\r\n") {
		if v, ok := strings.CutPrefix(line, name); ok && strings.HasPrefix(v, ":") {
			value, times = v[1:], times+1
		}
	}
	return value, times == 1
}

// isID says whether a text has the form of a run ID or replication ID.
func isID(text string) bool {
	return len(text) == idLength && strings.Trim(text, "0123456789abcdef") == ""
}
