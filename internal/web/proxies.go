package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHops bounds how far an X-Forwarded-For is followed. No real chain of proxies comes near it.
const maxHops = 32

// Proxies are the networks whose word about the caller is taken. The zero value trusts nobody.
//
// Only X-Forwarded-For, X-Forwarded-Proto and X-Request-Id are ever read, and only when the connection itself comes from
// one of these networks; Forwarded, X-Real-IP, X-Forwarded-Host and the like are never read, nor is the Host header used
// for anything that leaves the server.
type Proxies struct{ networks []netip.Prefix }

// NewProxies trusts the given networks.
func NewProxies(networks []netip.Prefix) Proxies {
	p := Proxies{networks: make([]netip.Prefix, 0, len(networks))}
	for _, n := range networks {
		if a := n.Addr(); a.Is4In6() && n.Bits() >= 96 {
			n = netip.PrefixFrom(a.Unmap(), n.Bits()-96)
		}
		p.networks = append(p.networks, n.Masked())
	}
	return p
}

// Trusts says whether the other end of the connection is a trusted proxy.
func (p Proxies) Trusts(r *http.Request) bool { return p.contains(peer(r)) }

// ClientIP is the address of the caller: the rightmost address of X-Forwarded-For that is not a trusted proxy, as seen
// from a trusted connection; the connection's own address when that is not trusted, or when the header holds garbage
// before the caller is found. It is not valid on a Unix socket.
func (p Proxies) ClientIP(r *http.Request) netip.Addr {
	from := peer(r)
	if !p.contains(from) {
		return from
	}
	return p.forwardedFor(r, from)
}

func (p Proxies) forwardedFor(r *http.Request, from netip.Addr) netip.Addr {
	caller := from
	hops := 0
	for _, rest := range slices.Backward(r.Header[headerForwardedFor]) {
		for more := true; more; {
			var hop string
			if cut := strings.LastIndexByte(rest, ','); cut >= 0 {
				rest, hop = rest[:cut], rest[cut+1:]
			} else {
				hop, more = rest, false
			}
			addr, ok := parseHop(hop)
			if hops++; !ok || hops > maxHops {
				return from
			}
			if caller = addr; !p.contains(addr) {
				return caller
			}
		}
	}
	return caller // proxies all the way: the first of them is the caller
}

// secure says whether the caller spoke https. A trusted proxy that says nothing of it is taken to have spoken plain http.
func (p Proxies) secure(r *http.Request, trusted bool) bool {
	if r.TLS != nil {
		return true
	}
	lines := r.Header[headerForwardedProto]
	if !trusted || len(lines) == 0 {
		return false
	}
	for _, line := range lines {
		for scheme := range strings.SplitSeq(line, ",") {
			if !strings.EqualFold(strings.TrimSpace(scheme), "https") {
				return false
			}
		}
	}
	return true
}

func (p Proxies) contains(a netip.Addr) bool {
	for _, n := range p.networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// peer is the address at the other end of the connection.
func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// parseHop reads one element of X-Forwarded-For; some proxies add the port.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		ap, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = ap.Addr()
	}
	return addr.Unmap().WithZone(""), true
}
