package redisstore

import (
	"fmt"
	"math"
	"strconv"

	"github.com/seed-1972b8eb/signet/internal/revocations"
)

// The members of a set, by what they begin with. Scores of tokens are their expiry in Unix seconds. Scores of cut-offs are
// minus the generation, so that a cut-off that is raised sinks (ZADD LT), and the sweep of what expired never meets one.
const (
	keyPrefix    = "signet:rev:"
	tokenPrefix  = "t:"
	clientPrefix = "c:"
	kidPrefix    = "k:"
	markerPrefix = "__complete__:"
)

// Scores of the marker.
const (
	pending  = 0
	complete = 1
)

// key names the set of an identity. The braces keep it in one slot, should Redis be a cluster of one.
func key(id revocations.Identity) string { return keyPrefix + "{" + string(id) + "}" }

func marker(generation int64) string { return markerPrefix + strconv.FormatInt(generation, 10) }

func cutOffMember(c revocations.CutOff) (string, error) {
	switch c.Kind {
	case revocations.ByClient:
		return clientPrefix + c.ID, nil
	case revocations.ByKey:
		return kidPrefix + c.ID, nil
	default:
		return "", fmt.Errorf("a cut-off by %q has no member in redis", c.Kind)
	}
}

// maxGeneration is far below where scores, which are floating-point numbers, stop telling a generation from the next.
const maxGeneration = 1 << 50

// height turns a generation into minus its score.
func height(generation int64) (float64, error) {
	if (generation < 0 || generation > maxGeneration) && generation != revocations.Everything {
		return 0, fmt.Errorf("generation %d has no score in redis", generation)
	}
	return float64(generation), nil
}

// score is one element of an answer to ZMSCORE.
type score struct {
	value   float64
	present bool
}

// is says whether the member is there with exactly this score.
func (s score) is(value float64) bool { return s.present && s.value == value }

// cuts says whether the score is that of a cut-off that ends tokens of the generation. A fraction below the score is a
// sweep's (see Sweep) and means nothing here.
func (s score) cuts(generation float64) bool { return s.present && math.Floor(-s.value) > generation }

// scores reads the answer to a ZMSCORE of n members.
func scores(answer any, n int) ([]score, error) {
	list, ok := answer.([]any)
	if !ok || len(list) != n {
		return nil, unexpected("zmscore", answer)
	}
	out := make([]score, n)
	for i, one := range list {
		if one == nil {
			continue // no such member
		}
		text, ok := one.(string)
		value, err := strconv.ParseFloat(text, 64)
		if !ok || err != nil || math.IsNaN(value) {
			return nil, unexpected("zmscore", answer)
		}
		out[i] = score{value: value, present: true}
	}
	return out, nil
}

// count reads an answer that is a number.
func count(command string, answer any) (int64, error) {
	n, ok := answer.(int64)
	if !ok {
		return 0, unexpected(command, answer)
	}
	return n, nil
}

// unexpected is an answer of another shape than the command has. It names types only: the answer may be somebody else's.
func unexpected(command string, answer any) error {
	return fmt.Errorf("redis answered %s with an unexpected %T", command, answer)
}
