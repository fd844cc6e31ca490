package faultlab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// scripted is a system that answers what a test wants it to.
type scripted struct {
	active bool
	err    error
	ended  bool // doomed says so
	during func()
}

func (s *scripted) issue(context.Context, int, int) (token, error) { return token{}, s.err }
func (s *scripted) revoke(context.Context, int, token) error       { return s.err }
func (s *scripted) doomed(context.Context, token) (bool, error)    { return s.ended, nil }
func (s *scripted) evidence(context.Context, token) string         { return "evidence" }
func (s *scripted) check(context.Context, int, token) (bool, error) {
	if s.during != nil {
		s.during()
	}
	return s.active, s.err
}

func scriptedOracle(t *testing.T, s *scripted) *oracle {
	t.Helper()
	h := &history{}
	h.add("begin a fault")
	return newOracle(s, newJournal(t), h, 1)
}

// TestOracleJudges: the oracle sees each kind of violation, and nothing where there is none.
func TestOracleJudges(t *testing.T) {
	t.Parallel()
	away := fmt.Errorf("%w: connection refused", errUndecided)
	for name, test := range map[string]struct {
		answer scripted
		live   bool // nobody took it back
		want   string
	}{
		"a revoked token is inactive":          {scripted{}, false, ""},
		"a revoked token is active":            {scripted{active: true}, false, resurrected},
		"503 for a revoked token":              {scripted{err: away}, false, ""},
		"500 for a revoked token":              {scripted{err: errors.New("500")}, false, improper},
		"a live token is active":               {scripted{active: true}, true, ""},
		"a live token is inactive":             {scripted{}, true, lost},
		"a token is inactive that truth ended": {scripted{ended: true}, true, ""},
		"503 for a live token":                 {scripted{err: away}, true, ""},
		"something else for a live token":      {scripted{err: errors.New("401")}, true, improper},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := scriptedOracle(t, &test.answer)
			subject := token{text: "t", jti: "the-jti", expires: time.Now().Add(time.Hour)}
			if test.live {
				o.askLive(t.Context(), 0, subject)
			} else {
				now := time.Now()
				if err := o.acknowledge(now, now, "revoked", subject); err != nil {
					t.Fatal(err)
				}
				k, ok := o.pick(newRNG(1, "test"), true)
				if !ok {
					t.Fatal("what was acknowledged is not known")
				}
				o.ask(t.Context(), 0, k)
			}
			broken := o.broken()
			if test.want == "" {
				if len(broken) > 0 {
					t.Errorf("the oracle complains: %s", broken[0].text)
				}
				return
			}
			if len(broken) != 1 || broken[0].kind != test.want {
				t.Fatalf("the oracle says %v, want: %s", broken, test.want)
			}
			for _, part := range []string{"the-jti", "evidence", "begin a fault", "replica 0"} {
				if !strings.Contains(broken[0].text, part) {
					t.Errorf("the report lacks %q:\n%s", part, broken[0].text)
				}
			}
		})
	}
}

// TestOracleAllowsWhatWasAskedBefore: an answer counts only if its question was sent after the acknowledgement.
func TestOracleAllowsWhatWasAskedBefore(t *testing.T) {
	t.Parallel()
	o := scriptedOracle(t, &scripted{active: true})
	o.ask(t.Context(), 0, known{token{jti: "j"}, "revoked", time.Now().Add(time.Minute)})
	if broken := o.broken(); len(broken) > 0 {
		t.Errorf("the oracle complains: %s", broken[0].text)
	}
}

// TestOracleKnowsWhatIsOnDisk: the journal has every acknowledgement before the oracle asks about it, and gives it back.
func TestOracleKnowsWhatIsOnDisk(t *testing.T) {
	t.Parallel()
	o := scriptedOracle(t, &scripted{})
	at := time.Now()
	for i := range 5 {
		now := at.Add(time.Duration(i))
		if err := o.acknowledge(now, now, "revoked", token{text: fmt.Sprint(i), client: "c", expires: at.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := o.journal.read()
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, line := range lines {
		texts = append(texts, line.Token)
	}
	if !slices.Equal(texts, []string{"0", "1", "2", "3", "4"}) || !lines[2].Time.Equal(at.Add(2)) || lines[2].How != "revoked" {
		t.Errorf("the journal has %+v", lines)
	}
	if !o.acknowledgedSince(at) || o.acknowledgedSince(at.Add(4)) {
		t.Error("the oracle does not know when the last acknowledged request was sent")
	}
	_ = o.journal.file.Close()
	before := len(o.all())
	if err := o.acknowledge(at, at, "revoked", token{}); err == nil || len(o.all()) != before {
		t.Errorf("acknowledge without a disk = %v, and is known", err)
	}
}

// TestOracleSkipsWhatExpires: a token that has expired counts nowhere, and shows nothing.
func TestOracleSkipsWhatExpires(t *testing.T) {
	t.Parallel()
	o := scriptedOracle(t, &scripted{})
	if err := o.acknowledge(time.Now(), time.Now(), "revoked", token{expires: time.Now().Add(time.Second)}); err != nil {
		t.Fatal(err)
	}
	if k, ok := o.pick(newRNG(1, "test"), false); ok {
		t.Errorf("asks about %+v", k)
	}
}

// TestFaultTable: names are unique, and every kind can be asked for by its name.
func TestFaultTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range faults() {
		found, err := faultsNamed(f.name)
		if err != nil || len(found) != 1 || seen[f.name] || len(f.touches) == 0 || f.what == "" || f.hold[0] > f.hold[1] {
			t.Errorf("fault %+v: %v, %v", f, found, err)
		}
		seen[f.name] = true
	}
	if _, err := faultsNamed("rain"); err == nil {
		t.Error("a fault that does not exist was found")
	}
}

// TestSeedRepeats: the same seed gives the same faults.
func TestSeedRepeats(t *testing.T) {
	t.Parallel()
	names := func(seed uint64) []string {
		l := &lab{t: t, rng: newRNG(seed, "faults"), history: &history{}}
		var out []string
		for f := range l.killCycles(60) {
			out = append(out, f.name)
		}
		return out
	}
	first := names(7)
	if !slices.Equal(first, names(7)) || slices.Equal(first, names(8)) {
		t.Error("a seed does not repeat the faults, or all seeds are the same")
	}
	for i, kill := range []string{killServer, killRedis, killPostgres} {
		n := 0
		for _, name := range first {
			if name == kill {
				n++
			}
		}
		if n != 20 {
			t.Errorf("%s comes %d times in 60 cycles (%d)", kill, n, i)
		}
	}
}
