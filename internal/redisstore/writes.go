package redisstore

import (
	"context"
	"slices"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// chunk is the most members that one command names, which Redis then does in about a millisecond.
const chunk = 1000

// Add implements [revocations.Set]. A token that is there keeps the later expiry, a cut-off the higher generation.
func (s *Set) Add(
	ctx context.Context, id revocations.Identity, revoked []revocations.Revocation, cutOffs []revocations.CutOff,
) error {
	for some := range slices.Chunk(revoked, chunk) {
		command := []any{"zadd", key(id), "gt"}
		for _, r := range some {
			command = append(command, r.ExpiresAt.Unix(), tokenPrefix+r.JTI)
		}
		if err := s.add(ctx, id, command); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(cutOffs, chunk) {
		command := []any{"zadd", key(id), "lt"}
		for _, c := range some {
			member, err := cutOffMember(c)
			if err != nil {
				return err
			}
			if _, err := height(c.Generation); err != nil {
				return err
			}
			command = append(command, -c.Generation, member)
		}
		if err := s.add(ctx, id, command); err != nil {
			return err
		}
	}
	return nil
}

func (s *Set) add(ctx context.Context, id revocations.Identity, command []any) error {
	answers, err := s.ask(ctx, id, command)
	if err != nil {
		return err
	}
	_, err = count("zadd", answers[0])
	return err
}

// Begin implements [revocations.Set].
func (s *Set) Begin(ctx context.Context, id revocations.Identity, generation int64) error {
	answers, err := s.ask(ctx, id,
		[]any{"multi"},
		[]any{"unlink", key(id)},
		[]any{"zadd", key(id), pending, marker(generation)},
		[]any{"exec"},
	)
	if err != nil {
		return err
	}
	done, ok := answers[3].([]any)
	if !ok || len(done) != 2 {
		return unexpected("exec", answers[3])
	}
	if _, err := count("unlink", done[0]); err != nil {
		return err
	}
	if added, err := count("zadd", done[1]); err != nil || added != 1 {
		return unexpected("zadd", done[1])
	}
	return nil
}

// Finish implements [revocations.Set].
func (s *Set) Finish(ctx context.Context, id revocations.Identity, generation int64) error {
	answers, err := s.ask(ctx, id, []any{"zadd", key(id), "xx", "ch", complete, marker(generation)})
	if err != nil {
		return err
	}
	changed, err := count("zadd", answers[0])
	if err != nil {
		return err
	}
	if changed != 1 {
		return revocations.ErrIncomplete
	}
	return nil
}
