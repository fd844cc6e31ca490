package redisstore

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// Sweep implements [revocations.Set]. Where more than limit tokens expired within one and the same second, it removes all of
// that second.
func (s *Set) Sweep(
	ctx context.Context, id revocations.Identity, before time.Time, cutOffs []revocations.CutOff, limit int,
) error {
	if err := s.sweepTokens(ctx, id, before, limit); err != nil {
		return err
	}
	for some := range slices.Chunk(cutOffs, chunk) {
		if err := s.sweepCutOffs(ctx, id, some); err != nil {
			return err
		}
	}
	return nil
}

// sweepTokens removes by score and not by name, so that it cannot take what was recorded anew with a later expiry meanwhile.
// Scores up to 1 are markers and cut-offs.
func (s *Set) sweepTokens(ctx context.Context, id revocations.Identity, before time.Time, limit int) error {
	lowest, highest := "("+strconv.Itoa(complete), "("+strconv.FormatInt(before.Unix(), 10)
	at := func(index int) []any {
		return []any{"zrangebyscore", key(id), lowest, highest, "withscores", "limit", index, 1}
	}
	answers, err := s.ask(ctx, id, at(0), at(limit))
	if err != nil {
		return err
	}
	first, err := foundScore(answers[0])
	if err != nil || first == "" {
		return err
	}
	next, err := foundScore(answers[1])
	if err != nil {
		return err
	}
	switch {
	case next == first:
		highest = first
	case next != "":
		highest = "(" + next
	}
	answers, err = s.ask(ctx, id, []any{"zremrangebyscore", key(id), lowest, highest})
	if err != nil {
		return err
	}
	_, err = count("zremrangebyscore", answers[0])
	return err
}

// foundScore reads the score of the one member that a ZRANGEBYSCORE found, "" for none.
func foundScore(answer any) (string, error) {
	list, ok := answer.([]any)
	if ok && len(list) == 0 {
		return "", nil
	}
	if !ok || len(list) != 2 {
		return "", unexpected("zrangebyscore", answer)
	}
	score, ok := list[1].(string)
	if !ok || score == "" {
		return "", unexpected("zrangebyscore", answer)
	}
	return score, nil
}

// sweepCutOffs removes cut-offs that nobody has raised since, without a moment in which one that is being raised could be
// lost, and without a script: each that still has the height given, or less, sinks by half a generation, which no reader
// notices; what is raised meanwhile sinks below that; and then exactly those go that have the half.
func (s *Set) sweepCutOffs(ctx context.Context, id revocations.Identity, cutOffs []revocations.CutOff) error {
	sink := []any{"zadd", key(id), "xx", "lt"}
	final := []any{"zrem", key(id)} // nothing is higher than Everything
	var halves []string
	for _, c := range cutOffs {
		member, err := cutOffMember(c)
		if err != nil {
			return err
		}
		h, err := height(c.Generation)
		switch {
		case err != nil:
			return err
		case c.Generation == revocations.Everything:
			final = append(final, member)
		default:
			half := strconv.FormatFloat(-h-0.5, 'f', -1, 64)
			sink = append(sink, half, member)
			halves = append(halves, half)
		}
	}
	var commands [][]any
	if len(final) > 2 {
		commands = append(commands, final)
	}
	if len(halves) > 0 {
		commands = append(commands, sink)
	}
	slices.Sort(halves)
	for _, half := range slices.Compact(halves) {
		commands = append(commands, []any{"zremrangebyscore", key(id), half, half})
	}
	answers, err := s.ask(ctx, id, commands...)
	if err != nil {
		return err
	}
	for _, a := range answers {
		if _, err := count("zrem", a); err != nil {
			return err
		}
	}
	return nil
}

// Purge implements [revocations.Set]. To remove a set that is in use after all is safe: its marker goes with it.
func (s *Set) Purge(ctx context.Context, id revocations.Identity) error {
	for cursor := "0"; ; {
		answers, err := s.ask(ctx, id, []any{"scan", cursor, "match", keyPrefix + "*", "count", chunk})
		if err != nil {
			return err
		}
		next, keys, err := page(answers[0])
		if err != nil {
			return err
		}
		others := []any{"unlink"}
		for _, k := range keys {
			if k != key(id) {
				others = append(others, k)
			}
		}
		if len(others) > 1 {
			if _, err := s.ask(ctx, id, others); err != nil {
				return err
			}
		}
		if cursor = next; cursor == "0" {
			return nil
		}
	}
}

// page reads an answer to SCAN: where to go on, and the keys.
func page(answer any) (string, []string, error) {
	list, ok := answer.([]any)
	if !ok || len(list) != 2 {
		return "", nil, unexpected("scan", answer)
	}
	next, ok := list[0].(string)
	found, isList := list[1].([]any)
	if !ok || next == "" || !isList {
		return "", nil, unexpected("scan", answer)
	}
	keys := make([]string, len(found))
	for i, one := range found {
		if keys[i], ok = one.(string); !ok {
			return "", nil, unexpected("scan", answer)
		}
	}
	return next, keys, nil
}
