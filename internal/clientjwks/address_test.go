package clientjwks_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/seed-1972b8eb/signet/internal/clientjwks"
)

func TestPermitted(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "0.1.2.3", "::", "10.1.2.3", "172.16.0.1", "172.31.255.255",
		"192.168.1.1", "169.254.169.254", "::ffff:169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.8", "192.0.2.1", "192.88.99.1",
		"198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
		"fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "2001::1",
		"2001:2::1", "2001:10::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1", "4000::1", "5f00::1", "::7f00:1",
	} {
		a := netip.MustParseAddr(address)
		if clientjwks.Permitted(a, nil, true) {
			t.Errorf("%s is let through", address)
		}
		if !clientjwks.Permitted(a, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, false) {
			t.Errorf("%s is refused though the operator allows it", address)
		}
	}
	for _, address := range []string{"1.1.1.1", "::ffff:1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "198.20.0.1", "2606:4700::1", "2a00::1", "2001:4860::1"} {
		if !clientjwks.Permitted(netip.MustParseAddr(address), nil, true) {
			t.Errorf("%s is refused", address)
		}
		if clientjwks.Permitted(netip.MustParseAddr(address), []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, false) {
			t.Errorf("%s is let through without TLS", address)
		}
	}
	if clientjwks.Permitted(netip.Addr{}, nil, true) {
		t.Error("the zero address is let through")
	}
	if !clientjwks.Permitted(netip.MustParseAddr("::ffff:10.0.0.1"), []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, false) {
		t.Error("an IPv4 address in its IPv6 form is not in the IPv4 network")
	}
}

func TestCheckURI(t *testing.T) {
	t.Parallel()
	ten := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, test := range []struct {
		uri   string
		allow []netip.Prefix
		ok    bool
	}{
		{"https://client.test/jwks.json", nil, true},
		{"https://client.test:8443/jwks.json?tenant=1", nil, true},
		{"https://1.1.1.1/", nil, true},
		{"https://10.0.0.1/", ten, true},
		{"http://10.0.0.1/", ten, true},
		{"http://client.test/", ten, false}, // a name may lead anywhere; without TLS nothing would show it
		{"http://client.test/", nil, false},
		{"http://1.1.1.1/", ten, false},
		{"https://10.0.0.1/", nil, false},
		{"https://127.0.0.1/", nil, false},
		{"https://[::1]/", ten, false},
		{"https://[::ffff:127.0.0.1]/", nil, false},
		{"https://2130706433/", ten, false},
		{"https://0x7f000001/", ten, false},
		{"https://0177.0.0.1/", ten, false},
		{"https://127.1/", ten, false},
		{"https://127.0.0.1./", ten, false},
		{"https://10.0.0.1./", ten, false},
		{"https://client.0x/", nil, false},
		{"https://1.client.test/", nil, true},
		{"https://4chan.0xtest/", nil, true},
		{"https://localhost/", nil, false},
		{"https://LOCALHOST./", nil, false},
		{"https://a.localhost/", nil, false},
		{"https://user@client.test/", nil, false},
		{"https://user:pass@client.test/", nil, false},
		{"https://client.test/#x", nil, false},
		{"https://client.test/#", nil, false},
		{"HTTPS://client.test/", nil, true},
		{"javascript:alert(1)", nil, false},
		{"JaVaScRiPt:alert(1)", nil, false},
		{"data:application/json,{}", nil, false},
		{"file:///etc/passwd", nil, false},
		{"ftp://client.test/", nil, false},
		{"https:client.test", nil, false},
		{"https:///jwks", nil, false},
		{"//client.test/", nil, false},
		{"/jwks", nil, false},
		{"", nil, false},
		{"https://client.test/%zz", nil, false},
		{"https://client.test/" + strings.Repeat("a", 2048), nil, false},
	} {
		err := clientjwks.CheckURI(test.uri, test.allow)
		if (err == nil) != test.ok || (err != nil && !errors.Is(err, clientjwks.ErrInvalid)) {
			t.Errorf("%s: %v", test.uri, err)
		}
	}
}
