package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// maxDocument bounds metadata and key sets, in bytes.
const maxDocument = 256 << 10

// discoverKeys reads the jwks_uri from an issuer's metadata (RFC 8414 §3).
func discoverKeys(ctx context.Context, issuer string) (string, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("the issuer is no URL")
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	location := u.Scheme + "://" + u.Host + "/.well-known/oauth-authorization-server" + path
	if err := fetchJSON(ctx, location, &metadata); err != nil {
		return "", err
	}
	if metadata.Issuer != issuer { // RFC 8414 §3.3: identical, or somebody answers in another's name
		return "", fmt.Errorf("its metadata is of another issuer, %q", metadata.Issuer)
	}
	return metadata.JWKSURI, nil
}

func fetchKeys(ctx context.Context, location string) (*jose.JSONWebKeySet, error) {
	keys := new(jose.JSONWebKeySet)
	if err := fetchJSON(ctx, location, keys); err != nil {
		return nil, err
	}
	return keys, nil
}

// fetchJSON gets a document over https, or over http from loopback. It follows no redirect.
func fetchJSON(ctx context.Context, location string, v any) error {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopbackName(u.Hostname())) {
		return fmt.Errorf("%q is not an https URL", location)
	}
	client := &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, DisableKeepAlives: true},
		Timeout:   10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects elsewhere")
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", location, res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxDocument)).Decode(v); err != nil {
		return fmt.Errorf("read %s: %w", location, err)
	}
	return nil
}

func loopbackName(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}
