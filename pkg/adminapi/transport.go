package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrUnreachable means that no server answered.
var ErrUnreachable = errors.New("server is not reachable")

const (
	prefix      = "/admin/v1"
	maxResponse = 32 << 20 // bytes; a page of 1000 clients is far below
	timeout     = 30 * time.Second
)

// TokenSource returns the access token of a request over TCP.
type TokenSource func(ctx context.Context) (string, error)

// Client calls the admin API of one server. Safe for concurrent use.
type Client struct {
	base  string // scheme and authority
	where string // for errors
	token TokenSource
	http  *http.Client
}

// NewUnix returns a Client that speaks over the server's Unix socket. Whoever may open the socket needs no token.
func NewUnix(socketPath string) *Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socketPath)
		},
		DisableKeepAlives: true,
	}
	return &Client{base: "http://signet.local", where: "admin socket " + socketPath, http: plain(transport)}
}

// New returns a Client that speaks to the admin listener at baseURL, such as https://auth.example.com:8081.
func New(baseURL string, token TokenSource) *Client {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
	}
	base := strings.TrimSuffix(baseURL, "/")
	return &Client{base: base, where: base, token: token, http: plain(transport)}
}

// plain follows no redirects: one would carry the token, or a change, to where the caller did not send it.
func plain(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// segment escapes one segment of a path. A dot alone would be taken for a step in the path.
func segment(text string) string {
	if text == "." || text == ".." {
		return strings.ReplaceAll(text, ".", "%2E")
	}
	return url.PathEscape(text)
}

// call is do with a new value to fill.
func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, in any) (*T, error) {
	out := new(T)
	if err := c.do(ctx, method, path, query, in, out); err != nil {
		return nil, err
	}
	return out, nil
}

// do sends one request and fills out with the answer. An answer that is none of the 2xx is a *Problem; no answer is
// ErrUnreachable.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	req, err := c.request(ctx, method, path, query, in)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", c.where, ctx.Err())
		}
		if wrapped, ok := errors.AsType[*url.Error](err); ok { // it names the URL, which says nothing for a socket
			err = wrapped.Err
		}
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, c.where, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return problemOf(res)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxResponse)).Decode(out); err != nil {
		return fmt.Errorf("%s: read the answer of %s %s: %w", c.where, method, path, err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, in any) (*http.Request, error) {
	target := c.base + prefix + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("write request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != nil {
		token, err := c.token(ctx)
		if err != nil {
			return nil, fmt.Errorf("get access token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}
