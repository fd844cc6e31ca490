package clientjwks

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// maxURI is the most bytes that a jwks_uri may have.
const maxURI = 2048

// CheckURI judges a jwks_uri by its text: absolute, https (http only where the host is an address inside allow), a host,
// no user, no fragment, and no literal address that Permitted refuses. What a name resolves to is judged when it is dialled.
// Errors wrap ErrInvalid.
func CheckURI(uri string, allow []netip.Prefix) error {
	if len(uri) > maxURI {
		return fmt.Errorf("%w: jwks_uri is longer than %d bytes", ErrInvalid, maxURI)
	}
	u, err := url.Parse(uri)
	if err != nil {
		return fmt.Errorf("%w: jwks_uri is not a URL", ErrInvalid)
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Opaque != "" || u.Hostname() == "" {
		return fmt.Errorf("%w: jwks_uri must be an absolute https URL", ErrInvalid)
	}
	if u.User != nil || u.Fragment != "" || strings.HasSuffix(uri, "#") {
		return fmt.Errorf("%w: jwks_uri must have no user and no fragment", ErrInvalid)
	}
	address, err := netip.ParseAddr(u.Hostname())
	literal := err == nil
	if u.Scheme == "http" && !literal {
		return fmt.Errorf("%w: jwks_uri must be https", ErrInvalid)
	}
	if literal && !Permitted(address, allow, u.Scheme == "https") {
		return fmt.Errorf("%w: jwks_uri leads to an address that is not public and not in outbound.allow_cidrs", ErrInvalid)
	}
	if !literal && endsInNumber(u.Hostname()) {
		return fmt.Errorf("%w: the host of jwks_uri is an address in a form that is not accepted", ErrInvalid)
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if (host == "localhost" || strings.HasSuffix(host, ".localhost")) && len(allow) == 0 {
		return fmt.Errorf("%w: jwks_uri leads to this machine", ErrInvalid)
	}
	return nil
}

// endsInNumber says whether a host is an IPv4 address in one of its odd forms (2130706433, 0x7f.1, 127.1, 127.0.0.1.), which
// some resolvers take for one: no top-level domain is a number (WHATWG URL, "ends in a number checker").
func endsInNumber(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// Permitted says whether the server may connect to an address on behalf of a client: one that the operator allows, or,
// where public is set, one of the public Internet. It decides by the kind of the address alone, never by a name, and is
// asked again for every connection (ATTACKS C1, C9).
func Permitted(address netip.Addr, allow []netip.Prefix, public bool) bool {
	address = address.Unmap().WithZone("")
	for _, prefix := range allow {
		if prefix.Contains(address) {
			return true
		}
	}
	return public && isPublic(address)
}

func isPublic(address netip.Addr) bool {
	if !address.IsGlobalUnicast() || address.IsPrivate() {
		return false
	}
	for _, prefix := range special() {
		if prefix.Contains(address) {
			return false
		}
	}
	// Of IPv6 only 2000::/3 is given out; whatever else looks global is not.
	return address.Is4() || netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20}), 3).Contains(address)
}

// special lists the blocks of the IANA special-purpose registries that netip's own predicates do not know, and the IPv6
// blocks that carry an IPv4 address inside.
func special() []netip.Prefix {
	v4 := func(a, b, c byte, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{a, b, c}), bits)
	}
	v6 := func(a, b, c, d byte, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{a, b, c, d}), bits)
	}
	return []netip.Prefix{
		v4(0, 0, 0, 8),                       // this network
		v4(100, 64, 0, 10),                   // shared by carriers; also where some clouds keep their metadata
		v4(192, 0, 0, 24), v4(192, 0, 2, 24), // protocol assignments, documentation
		v4(192, 88, 99, 24), v4(198, 18, 0, 15), // 6to4 relays, benchmarks
		v4(198, 51, 100, 24), v4(203, 0, 113, 24), // documentation
		v4(240, 0, 0, 4),                                         // reserved, and the broadcast address
		v6(0x20, 0x01, 0, 0, 23),                                 // protocol assignments: Teredo, ORCHID, benchmarks
		v6(0x20, 0x01, 0x0d, 0xb8, 32), v6(0x20, 0x02, 0, 0, 16), // documentation, 6to4
		v6(0x3f, 0xff, 0, 0, 20), // documentation
	}
}
