package main

import (
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/servertest"
)

// TestDoctorBesideAnotherServer: a server that is configured somewhere must be checked with that configuration. Defaults and its
// issuer would make a doctor that looked at nothing of it say that all is well.
func TestDoctorBesideAnotherServer(t *testing.T) {
	t.Parallel()
	s := servertest.Serve(t, servertest.Config{
		Issuer: "https://auth.example.com", ExtraYAML: "proxy:\n  terminates_tls: true\n  trusted_cidrs: [127.0.0.1/32]\n",
	})
	code, stdout, _ := command(t, []string{"SIGNET_DATA_DIR=" + s.DataDir}, "doctor")
	if code == exitOK || !strings.Contains(stdout, "name the configuration of the server for https://auth.example.com") || strings.Contains(stdout, "ok ") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}
