package redisstore

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/revocations"
	"github.com/seed-1972b8eb/signet/internal/servertest/redistest"
)

func byClient(id string, generation int64) revocations.CutOff {
	return revocations.CutOff{Kind: revocations.ByClient, ID: id, Generation: generation}
}

func byKey(id string) revocations.CutOff {
	return revocations.CutOff{Kind: revocations.ByKey, ID: id, Generation: revocations.Everything}
}

func TestIdentityHasItsForm(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, Config{URL: server.URL()})
	want := revocations.Identity(server.Info("server", "run_id") + "-" + server.Info("replication", "master_replid") + "-0")
	if got := identity(t, s); got != want {
		t.Errorf("identity %q, want %q", got, want)
	}
}

// TestDatabasesDiffer holds that replicas with different databases on one server do not believe each other's sets.
func TestDatabasesDiffer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	first := open(t, Config{URL: server.URL()})
	second := open(t, Config{URL: strings.TrimSuffix(server.URL(), "0") + "1"})
	if identity(t, first) == identity(t, second) {
		t.Error("two databases have one identity")
	}
}

func TestMarker(t *testing.T) {
	t.Parallel()
	s := open(t, Config{URL: redistest.Open(t)})
	id := identity(t, s)
	states := func(generation int64) (bool, error) {
		t.Helper()
		holds, err := s.Holds(within(t), id, generation)
		must(t, err)
		_, err = one(s.Revoked(within(t), id, generation, []revocations.Token{asked("x")}))
		return holds, err
	}
	check := func(when string, generation int64, want bool) {
		t.Helper()
		holds, err := states(generation)
		if holds != want || errors.Is(err, revocations.ErrIncomplete) == want || want && err != nil {
			t.Errorf("%s: holds %v, revoked %v; want complete %v", when, holds, err, want)
		}
	}
	check("no set", 1, false)
	if err := s.Finish(within(t), id, 1); !errors.Is(err, revocations.ErrIncomplete) {
		t.Errorf("finish of no set: %v", err)
	}
	check("finish of no set", 1, false)
	must(t, s.Begin(within(t), id, 1))
	check("pending", 1, false)
	must(t, s.Finish(within(t), id, 1))
	check("complete", 1, true)
	check("another generation", 2, false)
	if err := s.Finish(within(t), id, 1); !errors.Is(err, revocations.ErrIncomplete) {
		t.Errorf("finish of a complete set: %v", err)
	}
	must(t, s.Add(within(t), id, []revocations.Revocation{taken("x")}, nil))
	must(t, s.Begin(within(t), id, 2))
	check("begun anew", 1, false)
	check("begun anew", 2, false)
	must(t, s.Finish(within(t), id, 2))
	check("complete anew", 2, true)
	if revoked, err := one(s.Revoked(within(t), id, 2, []revocations.Token{asked("x")})); err != nil || revoked {
		t.Errorf("begin left an entry of before: %v, %v", revoked, err)
	}
}

func TestRevoked(t *testing.T) {
	t.Parallel()
	s := open(t, Config{URL: redistest.Open(t)})
	id := filled(t, s)
	strange := "a\x00b \r\n\xff{}*?" // nothing is escaped, nothing is a pattern
	must(t, s.Add(within(t), id, []revocations.Revocation{taken(strange), taken("")},
		[]revocations.CutOff{byClient("lower", 3), byClient("deleted", revocations.Everything), byKey("leaked"), byClient("zero", 0)}))
	must(t, s.Add(within(t), id, nil, []revocations.CutOff{byClient("lower", 2)})) // late: must not rise again
	must(t, s.Add(within(t), id, nil, []revocations.CutOff{byClient("raised", 1)}))
	must(t, s.Add(within(t), id, nil, []revocations.CutOff{byClient("raised", 5)}))
	for _, tt := range []struct {
		token revocations.Token
		want  bool
	}{
		{revocations.Token{JTI: strange}, true},
		{revocations.Token{JTI: ""}, true},
		{revocations.Token{JTI: "t:gone"}, false},
		{revocations.Token{JTI: "1", ClientID: "gone"}, false},
		{revocations.Token{JTI: "1", KID: "gone"}, false},
		{revocations.Token{JTI: "1", ClientID: "lower", Generation: 2}, true},
		{revocations.Token{JTI: "1", ClientID: "lower", Generation: 3}, false},
		{revocations.Token{JTI: "1", KID: "lower", Generation: 0}, false},
		{revocations.Token{JTI: "1", ClientID: "raised", Generation: 4}, true},
		{revocations.Token{JTI: "1", ClientID: "raised", Generation: 5}, false},
		{revocations.Token{JTI: "1", ClientID: "zero", Generation: 0}, false},
		{revocations.Token{JTI: "1", ClientID: "deleted", Generation: maxGeneration}, true},
		{revocations.Token{JTI: "1", ClientID: "other", KID: "leaked", Generation: maxGeneration}, true},
		{revocations.Token{JTI: "1", ClientID: "leaked", Generation: 0}, false},
	} {
		wantRevoked(t, s, id, tt.token, tt.want)
	}
}

// TestGenerationsWithoutScore holds that nothing is written or answered where a score could not tell generations apart.
func TestGenerationsWithoutScore(t *testing.T) {
	t.Parallel()
	s := open(t, Config{URL: redistest.Open(t)})
	id := filled(t, s)
	for _, generation := range []int64{-1, maxGeneration + 1, revocations.Everything - 1} {
		cut := []revocations.CutOff{byClient("c", generation)}
		if err := s.Add(within(t), id, nil, cut); err == nil {
			t.Errorf("generation %d was added", generation)
		}
		if err := s.Sweep(within(t), id, time.Now(), cut, 1); err == nil {
			t.Errorf("generation %d was swept", generation)
		}
		if _, err := one(s.Revoked(within(t), id, 1, []revocations.Token{{ClientID: "c", Generation: generation}})); err == nil {
			t.Errorf("generation %d was answered", generation)
		}
	}
	unknown := []revocations.CutOff{{Kind: "account", ID: "c", Generation: 1}}
	if err := s.Add(within(t), id, nil, unknown); err == nil {
		t.Error("a cut-off of unknown kind was added")
	}
	if err := s.Sweep(within(t), id, time.Now(), unknown, 1); err == nil {
		t.Error("a cut-off of unknown kind was swept")
	}
}

func TestAddInChunks(t *testing.T) {
	t.Parallel()
	s := open(t, Config{URL: redistest.Open(t)})
	id := filled(t, s)
	var revoked []revocations.Revocation
	var cutOffs []revocations.CutOff
	for i := range 2*chunk + 1 {
		revoked = append(revoked, taken("many"+strconv.Itoa(i)))
		cutOffs = append(cutOffs, byClient("many"+strconv.Itoa(i), 2))
	}
	must(t, s.Add(within(t), id, revoked, cutOffs))
	for _, i := range []int{0, chunk - 1, chunk, 2*chunk - 1, 2 * chunk} {
		wantRevoked(t, s, id, asked("many"+strconv.Itoa(i)), true)
		wantRevoked(t, s, id, revocations.Token{JTI: "1", ClientID: "many" + strconv.Itoa(i), Generation: 1}, true)
	}
	wantRevoked(t, s, id, asked("many"+strconv.Itoa(2*chunk+1)), false)
}

// left lists the members of the set, without the marker.
func left(t *testing.T, server *redistest.Server, id revocations.Identity) []string {
	t.Helper()
	var out []string
	for member := range strings.Lines(server.Do("ZRANGE", key(id), "0", "-1") + "\n") {
		if member = strings.TrimSpace(member); !strings.HasPrefix(member, markerPrefix) {
			out = append(out, member)
		}
	}
	return out
}

func TestSweepTokens(t *testing.T) { //nolint:tparallel // its sub-tests share one set
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, Config{URL: server.URL()})
	now := time.Now().Truncate(time.Second)
	for _, tt := range []struct {
		name  string
		ages  []int // seconds since the expiry of each token
		limit int
		want  string // the ages that stay
	}{
		{"nothing expired", []int{0, -1}, 9, "0 -1"},
		{"those before", []int{2, 1, 0}, 9, "0"},
		{"at most the limit, oldest first", []int{5, 4, 3, 2, 0}, 2, "3 2 0"},
		{"not a part of a second", []int{5, 4, 4, 3}, 2, "4 4 3"},
		{"a second of more than the limit", []int{5, 5, 5, 4}, 2, "4"},
		{"exactly the limit", []int{5, 5, 0}, 2, "0"},
	} {
		t.Run(tt.name, func(t *testing.T) { //nolint:paralleltest // one set
			id := filled(t, s)
			server.Do("ZREM", key(id), "t:gone")
			must(t, s.Add(within(t), id, nil, []revocations.CutOff{byClient("c", 1), byKey("k")}))
			for i, age := range tt.ages {
				r := revocations.Revocation{JTI: fmt.Sprintf("%d-%d", age, i), ExpiresAt: now.Add(time.Duration(-age) * time.Second)}
				must(t, s.Add(within(t), id, []revocations.Revocation{r}, nil))
			}
			must(t, s.Sweep(within(t), id, now, nil, tt.limit))
			var ages []string
			for _, member := range left(t, server, id) {
				if !strings.HasPrefix(member, tokenPrefix) {
					continue
				}
				age, _, _ := strings.Cut(strings.TrimPrefix(member, tokenPrefix), "-")
				if strings.HasPrefix(member, "t:-") {
					age = "-1"
				}
				ages = append(ages, age)
			}
			if got := strings.Join(ages, " "); got != tt.want {
				t.Errorf("left %q, want %q", got, tt.want)
			}
			if holds, err := s.Holds(within(t), id, 1); err != nil || !holds {
				t.Errorf("marker after the sweep: %v, %v", holds, err)
			}
		})
	}
}

// TestSweepSparesTheRerecorded holds that a token which was recorded anew with a later expiry stays.
func TestSweepSparesTheRerecorded(t *testing.T) {
	t.Parallel()
	s := open(t, Config{URL: redistest.Open(t)})
	id := filled(t, s)
	early := revocations.Revocation{JTI: "gone", ExpiresAt: time.Now().Add(-time.Hour)}
	must(t, s.Add(within(t), id, []revocations.Revocation{early}, nil)) // the later expiry stays
	must(t, s.Sweep(within(t), id, time.Now(), nil, 10))
	wantRevoked(t, s, id, asked("gone"), true)
}

func TestSweepCutOffs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, Config{URL: server.URL()})
	id := filled(t, s)
	must(t, s.Add(within(t), id, nil, []revocations.CutOff{
		byClient("same", 3), byClient("raised", 4), byClient("lower", 2), byClient("unnamed", 3),
		byClient("deleted", revocations.Everything), byClient("deleted too", revocations.Everything), byKey("leaked"),
	}))
	must(t, s.Sweep(within(t), id, time.Now(), []revocations.CutOff{
		byClient("same", 3), byClient("raised", 3), byClient("lower", 3), byClient("none", 3), byClient("none either", 7),
		byClient("deleted", revocations.Everything),
	}, 10))
	want := []string{"c:deleted too", "k:leaked", "c:raised", "c:unnamed", "t:gone"}
	if diff := cmp.Diff(want, left(t, server, id)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	for client, want := range map[string]string{"raised": "-4", "unnamed": "-3"} {
		if got := server.Do("ZSCORE", key(id), "c:"+client); got != want {
			t.Errorf("score of %s: %s, want %s", client, got, want)
		}
	}
}

// TestSweepMeetsRaise looks at each state that a sweep of a cut-off passes through while another replica raises it.
func TestSweepMeetsRaise(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, Config{URL: server.URL()})
	id := filled(t, s)
	must(t, s.Add(within(t), id, nil, []revocations.CutOff{byClient("c", 3)}))
	server.Do("ZADD", key(id), "XX", "LT", "-3.5", "c:c") // the sweep's first half
	wantRevoked(t, s, id, revocations.Token{JTI: "1", ClientID: "c", Generation: 2}, true)
	wantRevoked(t, s, id, revocations.Token{JTI: "1", ClientID: "c", Generation: 3}, false)
	must(t, s.Add(within(t), id, nil, []revocations.CutOff{byClient("c", 4)}))
	if removed := server.Do("ZREMRANGEBYSCORE", key(id), "-3.5", "-3.5"); removed != "0" { // its second half
		t.Errorf("the sweep took %s cut-offs that were being raised", removed)
	}
	wantRevoked(t, s, id, revocations.Token{JTI: "1", ClientID: "c", Generation: 3}, true)
}

func TestPurge(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, Config{URL: server.URL()})
	id := filled(t, s)
	for i := range 2*chunk + 10 { // more than one page
		server.Do("ZADD", fmt.Sprintf("signet:rev:{old-%d}", i), "1", "t:x")
	}
	server.Do("SET", "signet:limits:x", "somebody else's")
	must(t, s.Purge(within(t), id))
	if size := server.Do("DBSIZE"); size != "2" {
		t.Errorf("%s keys are left, want the set and the other key", size)
	}
	wantRevoked(t, s, id, asked("gone"), true)
}
