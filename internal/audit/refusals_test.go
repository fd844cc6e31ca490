package audit_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-1972b8eb/signet/internal/audit"
)

func TestRefusalsForgetTheOldest(t *testing.T) {
	t.Parallel()
	for count := range 8 {
		s := audit.NewRefusals(3)
		var want []string
		for i := range count {
			s.Record(audit.Refusal{RequestID: fmt.Sprint(i)})
		}
		for i := count - 1; i >= max(0, count-3); i-- {
			want = append(want, fmt.Sprint(i))
		}
		var got []string
		for _, r := range s.List(audit.RefusalFilter{}, 100) {
			got = append(got, r.RequestID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d recorded (-want +got):\n%s", count, diff)
		}
		if entries, capacity := s.Stats(); entries != min(count, 3) || capacity != 3 {
			t.Errorf("%d recorded: %d entries of %d", count, entries, capacity)
		}
		for i := range count {
			if _, found := s.Find(fmt.Sprint(i)); found != (i >= count-3) {
				t.Errorf("%d recorded: number %d found: %v", count, i, found)
			}
		}
	}
}

func TestRefusalsFind(t *testing.T) {
	t.Parallel()
	s := audit.NewRefusals(10)
	first := audit.Refusal{
		RequestID: "a", Time: time.Unix(1, 0), Endpoint: "token", ClientID: "client_1", Source: "203.0.113.9",
		Code: "invalid_client", Reason: "secret_mismatch", Detail: "no secret of the client matches",
	}
	s.Record(first)
	if got, ok := s.Find("a"); !ok || got != first {
		t.Errorf("got %+v, %v", got, ok)
	}
	s.Record(audit.Refusal{RequestID: "a", Reason: "later"})
	if got, _ := s.Find("a"); got.Reason != "later" {
		t.Errorf("got %+v, want the later one", got)
	}
	for _, absent := range []string{"b", ""} {
		if got, ok := s.Find(absent); ok {
			t.Errorf("%q gives %+v", absent, got)
		}
	}
}

func TestRefusalsList(t *testing.T) {
	t.Parallel()
	s := audit.NewRefusals(10)
	for i := range 6 {
		s.Record(audit.Refusal{
			RequestID: fmt.Sprint(i), Time: time.Unix(int64(i), 0), ClientID: fmt.Sprint("client_", i%2),
			Endpoint: []string{"token", "revoke", "introspect"}[i%3], Reason: fmt.Sprint("reason_", i/3),
		})
	}
	tests := map[string]struct {
		filter audit.RefusalFilter
		limit  int
		want   string
	}{
		"all":       {audit.RefusalFilter{}, 10, "543210"},
		"limit":     {audit.RefusalFilter{}, 2, "54"},
		"none":      {audit.RefusalFilter{}, 0, ""},
		"client":    {audit.RefusalFilter{ClientID: "client_1"}, 10, "531"},
		"endpoint":  {audit.RefusalFilter{Endpoint: "revoke"}, 10, "41"},
		"reason":    {audit.RefusalFilter{Reason: "reason_0"}, 10, "210"},
		"since":     {audit.RefusalFilter{Since: time.Unix(3, 0)}, 10, "54"},
		"all of it": {audit.RefusalFilter{ClientID: "client_1", Endpoint: "token", Reason: "reason_1", Since: time.Unix(1, 0)}, 10, "3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got strings.Builder
			for _, r := range s.List(tt.filter, tt.limit) {
				got.WriteString(r.RequestID)
			}
			if got.String() != tt.want {
				t.Errorf("got %q, want %q", got.String(), tt.want)
			}
		})
	}
}

// TestRefusalsMemory records client IDs that are slices of large bodies: the bodies must not stay.
func TestRefusalsMemory(t *testing.T) {
	s := audit.NewRefusals(1000)
	for i := range 1000 {
		body := strings.Repeat(string(rune('a'+i%26)), 64<<10)
		s.Record(audit.Refusal{RequestID: fmt.Sprint(i), ClientID: body[:20], Detail: body})
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 16<<20 {
		t.Errorf("%d MiB are held for 1000 refusals", m.HeapAlloc>>20)
	}
	if got, _ := s.Find("7"); len(got.Detail) != audit.MaxRefusalText {
		t.Errorf("%d bytes of detail", len(got.Detail))
	}
}

func TestRefusalsConcurrentUse(t *testing.T) {
	t.Parallel()
	s := audit.NewRefusals(0)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 500 {
				s.Record(audit.Refusal{RequestID: fmt.Sprint(i)})
				s.Find("0")
				s.List(audit.RefusalFilter{}, 5)
			}
		})
	}
	all.Wait()
	if entries, capacity := s.Stats(); entries != 1 || capacity != 1 {
		t.Errorf("%d entries of %d", entries, capacity)
	}
}
