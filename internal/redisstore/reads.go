package redisstore

import (
	"context"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// Identity implements [revocations.Set].
func (s *Set) Identity(ctx context.Context) (revocations.Identity, error) {
	who, _, err := s.exchange(ctx, nil)
	return who, err
}

// Holds implements [revocations.Set].
func (s *Set) Holds(ctx context.Context, id revocations.Identity, generation int64) (bool, error) {
	found, err := s.scores(ctx, id, marker(generation))
	if err != nil {
		return false, err
	}
	return found[0].is(complete), nil
}

// Revoked implements [revocations.Set].
func (s *Set) Revoked(
	ctx context.Context, id revocations.Identity, generation int64, tokens []revocations.Token,
) ([]bool, error) {
	own := make([]float64, len(tokens))
	members := append(make([]string, 0, 1+3*len(tokens)), marker(generation))
	for i, t := range tokens {
		var err error
		if own[i], err = height(t.Generation); err != nil {
			return nil, err
		}
		members = append(members, tokenPrefix+t.JTI, clientPrefix+t.ClientID, kidPrefix+t.KID)
	}
	found, err := s.scores(ctx, id, members...)
	if err != nil {
		return nil, err
	}
	if !found[0].is(complete) {
		return nil, revocations.ErrIncomplete
	}
	revoked := make([]bool, len(tokens))
	for i := range tokens {
		of := found[1+3*i:]
		revoked[i] = of[0].present || of[1].cuts(own[i]) || of[2].cuts(own[i])
	}
	return revoked, nil
}

// scores asks for members of the set, in their order.
func (s *Set) scores(ctx context.Context, id revocations.Identity, members ...string) ([]score, error) {
	command := append(make([]any, 0, 2+len(members)), "zmscore", key(id))
	for _, m := range members {
		command = append(command, m)
	}
	answers, err := s.ask(ctx, id, command)
	if err != nil {
		return nil, err
	}
	return scores(answers[0], len(members))
}
