package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/internal/rootkeys"
)

// soon is how long before its expiry a certificate is worth a warning.
const soon = 21 * 24 * time.Hour

func (d *doctor) checkConfig(ctx context.Context) bool {
	from, flags, advice := d.env.configFile(), map[string]string{}, "correct it; signet config check shows the same report"
	if from == "" {
		from = "environment and defaults"
		switch issuer := d.serverIssuer(ctx); {
		case issuer == "":
		case isLoopbackIssuer(issuer): // the one of `signet dev`, which has no configuration to name
			from, flags["issuer"] = from+", issuer as the running server says", issuer
		default:
			advice = "name the configuration of the server for " + issuer + ", which runs here, with --config"
		}
	}
	cfg, err := d.env.loadWith(flags)
	if err != nil {
		d.fail("configuration", err.Error(), advice)
		return false
	}
	d.cfg = cfg
	d.ok("configuration", "valid, from "+from)
	return true
}

// serverIssuer asks the running server for its issuer, unless one is configured; "" where none answers.
func (d *doctor) serverIssuer(ctx context.Context) string {
	if d.env.Getenv("SIGNET_ISSUER") != "" {
		return ""
	}
	admin, err := d.env.admin()
	if err != nil {
		return "" // checkServer says why, once the configuration is whole
	}
	status, err := admin.Status(ctx)
	if err != nil {
		return ""
	}
	return status.Issuer
}

func (d *doctor) checkDataDir() {
	const check = "data directory"
	dir := d.cfg.DataDir
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		d.fail(check, err.Error(), "run signet init, or name the right one with --data-dir")
	case !info.IsDir():
		d.fail(check, dir+" is no directory", "name the right one with --data-dir")
	case info.Mode().Perm()&0o077 != 0:
		d.warn(check, fmt.Sprintf("%s has mode %04o: others may look into it", dir, info.Mode().Perm()), "chmod 700 "+dir)
	default:
		d.ok(check, dir)
	}
	if d.cfg.Database.Driver == config.SQLite {
		d.checkPrivate("database file", d.cfg.Database.Path)
	}
	if d.cfg.Database.Driver == config.Postgres && d.cfg.Database.URL.File != "" {
		d.checkPrivate("database URL file", d.cfg.Database.URL.File)
	}
	if d.cfg.Redis.URL.File != "" {
		d.checkPrivate("redis URL file", d.cfg.Redis.URL.File)
	}
}

// checkPrivate warns of a file that others may read. One that is missing is reported by who needs it.
func (d *doctor) checkPrivate(check, path string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	if info.Mode().Perm()&0o077 != 0 {
		d.warn(check, fmt.Sprintf("%s has mode %04o: others may read it", path, info.Mode().Perm()), "chmod 600 "+path)
		return
	}
	d.ok(check, path+" is for its owner alone")
}

func (d *doctor) checkCertificate() {
	const check = "certificate"
	t := d.cfg.TLS
	if !t.Enabled() {
		return
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		d.fail(check, err.Error(), "set tls.cert_file and tls.key_file to a certificate and its key, PEM")
		return
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		d.fail(check, err.Error(), "replace "+t.CertFile)
		return
	}
	left := time.Until(leaf.NotAfter)
	u, uerr := url.Parse(d.cfg.Issuer)
	switch {
	case left <= 0:
		d.fail(check, "expired "+when(leaf.NotAfter), "renew it; the server reads the files again by itself")
	case time.Now().Before(leaf.NotBefore):
		d.fail(check, "valid only from "+when(leaf.NotBefore), "check this machine's clock")
	case uerr == nil && leaf.VerifyHostname(u.Hostname()) != nil:
		d.warn(check, fmt.Sprintf("is for %s, not for the issuer's host %s", strings.Join(leaf.DNSNames, ", "), u.Hostname()),
			"right only where a proxy in front has another one")
	case left < soon:
		d.warn(check, "expires "+when(leaf.NotAfter), "renew it; the server reads the files again by itself")
	default:
		d.ok(check, "valid until "+when(leaf.NotAfter))
	}
	d.checkPrivate("certificate key", t.KeyFile)
}

func (d *doctor) checkRootKeys(ctx context.Context) {
	for _, root := range []struct {
		check string
		ref   config.SecretRef
	}{{"master key", d.cfg.Keys.MasterKey}, {"pepper", d.cfg.Keys.Pepper}} {
		set, err := rootkeys.Load(ctx, rootkeys.Source(root.ref))
		if err != nil {
			d.fail(root.check, err.Error(), "run signet init for a new server; for an old one bring the key back from its safe place")
			continue
		}
		d.ok(root.check, fmt.Sprintf("version %d, from %s", set.Current().Version, root.ref))
		if root.check == "master key" {
			d.master = &set
		}
		if dir := d.cfg.DataDir + "/"; strings.HasPrefix(root.ref.File, dir) && d.cfg.Issuer != "" && !isLoopbackIssuer(d.cfg.Issuer) {
			d.warn(root.check, "lies in the data directory, beside the database", "keep it elsewhere, so that a copy of the directory is useless without it")
		}
	}
}

func isLoopbackIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && loopbackName(u.Hostname())
}

// checkSocketFile looks at the socket of a server that answered.
func (d *doctor) checkSocketFile() {
	path := d.cfg.Listen.AdminSocket
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return
	}
	if info.Mode().Perm()&0o077 != 0 {
		d.fail("admin socket", fmt.Sprintf("%s has mode %04o: others may administer this server", path, info.Mode().Perm()), "chmod 600 "+path)
	}
}
