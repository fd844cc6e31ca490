package redisstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// target is what a URL says.
type target struct {
	secure             bool
	addrs              []string // one Redis, or the Sentinels
	username, password string
	database           int

	masterName                         string // empty: no Sentinel
	sentinelUsername, sentinelPassword string
}

const (
	redisPort    = "6379"
	sentinelPort = "26379"
)

// parseURL reads a URL. No error repeats any part of it: where a password is not escaped, every part may hold a piece of it.
func parseURL(text string) (target, error) {
	u, err := url.Parse(text)
	if err != nil {
		return target{}, errors.New("the Redis URL is malformed: " +
			"want redis://user:password@host:port/database, with %-escapes for what is special in a URL")
	}
	t := target{secure: u.Scheme == "rediss"}
	switch {
	case u.Scheme != "redis" && u.Scheme != "rediss":
		return target{}, errors.New("the Redis URL must begin with redis:// or rediss://")
	case u.Hostname() == "":
		return target{}, errors.New("the Redis URL names no host")
	case u.Fragment != "":
		return target{}, errors.New(`the Redis URL has a "#"; in a password it is written %23`)
	}
	t.username = u.User.Username()
	t.password, _ = u.User.Password()
	if t.username != "" && t.password == "" {
		return target{}, errors.New("the Redis URL has a user without a password; a password alone is written :password@host")
	}
	if path := strings.TrimPrefix(u.Path, "/"); path != "" {
		if t.database, err = strconv.Atoi(path); err != nil || t.database < 0 {
			return target{}, errors.New("the path of the Redis URL must be the number of a database")
		}
	}
	if err := t.query(u.RawQuery); err != nil {
		return target{}, err
	}
	port := redisPort
	if t.masterName != "" {
		port = sentinelPort
	}
	if u.Port() != "" {
		port = u.Port()
	}
	t.addrs = append([]string{net.JoinHostPort(u.Hostname(), port)}, t.addrs...)
	return t, nil
}

// query reads what is about Sentinel. Nothing else can be set: how connections behave is no matter of taste here.
func (t *target) query(raw string) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("the parameters of the Redis URL are malformed")
	}
	for name, all := range values {
		if len(all) > 1 && name != "addr" {
			return errors.New("the Redis URL has a parameter twice")
		}
		switch name {
		case "master_name":
			t.masterName = all[0]
		case "sentinel_username":
			t.sentinelUsername = all[0]
		case "sentinel_password":
			t.sentinelPassword = all[0]
		case "addr":
			t.addrs = all
		default:
			return errors.New("the Redis URL has a parameter that does not exist; " +
				"there are master_name, addr, sentinel_username and sentinel_password")
		}
	}
	if t.masterName == "" && len(values) > 0 {
		return errors.New("the Redis URL has parameters for Sentinel and no master_name")
	}
	for _, addr := range t.addrs {
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
			return errors.New("an addr of the Redis URL is not host:port")
		}
	}
	return nil
}

func (t target) databaseText() string { return strconv.Itoa(t.database) }

// tlsConfig is nil without TLS.
func (t target) tlsConfig(caFile string) (*tls.Config, error) {
	if !t.secure {
		if caFile != "" {
			return nil, errors.New("the Redis URL is without TLS, so its ca_file would go unused; use rediss://")
		}
		return nil, nil //nolint:nilnil // none is what net/tls calls none
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the authority of Redis: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the authority of Redis: %s holds no certificate in PEM", caFile)
	}
	return c, nil
}
