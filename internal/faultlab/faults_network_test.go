package faultlab

import "github.com/seed-1972b8eb/signet/internal/servertest/faultproxy"

func toRedis(l *line) []*faultproxy.Proxy    { return []*faultproxy.Proxy{l.redis} }
func toPostgres(l *line) []*faultproxy.Proxy { return []*faultproxy.Proxy{l.postgres} }
func toBoth(l *line) []*faultproxy.Proxy     { return []*faultproxy.Proxy{l.redis, l.postgres} }

// on does something to the proxies of some replicas, and returns what heals them.
func (l *lab) on(which func(*line) []*faultproxy.Proxy, do func(*faultproxy.Proxy)) func() {
	var hurt []*faultproxy.Proxy
	replicas := l.some()
	l.history.add("  of replicas %v", replicas)
	for _, i := range replicas {
		hurt = append(hurt, which(l.stores.lines[i])...)
	}
	for _, p := range hurt {
		do(p)
	}
	return func() {
		for _, p := range hurt {
			p.Heal()
		}
	}
}

// latency stays below the limits of the replicas at times, and is above them at others.
func latency(which func(*line) []*faultproxy.Proxy) func(l *lab) func() {
	return func(l *lab) func() {
		delay := l.between(ms(5), ms(150))
		if l.rng.IntN(3) == 0 {
			delay = l.between(ms(150), ms(700))
		}
		return l.on(which, func(p *faultproxy.Proxy) { p.SetLatency(delay) })
	}
}

// resets comes in bursts, so that connections break in the middle of what they carry.
func resets(which func(*line) []*faultproxy.Proxy) func(l *lab) func() {
	return func(l *lab) func() {
		for range 5 + l.rng.IntN(20) {
			l.on(which, (*faultproxy.Proxy).Reset)
			l.wait(l.between(0, ms(30)))
		}
		return func() {}
	}
}

func cut(which func(*line) []*faultproxy.Proxy) func(l *lab) func() {
	return func(l *lab) func() { return l.on(which, (*faultproxy.Proxy).Cut) }
}

func hang(which func(*line) []*faultproxy.Proxy) func(l *lab) func() {
	return func(l *lab) func() { return l.on(which, (*faultproxy.Proxy).Hang) }
}

func (l *lab) partition() func() {
	if l.rng.IntN(2) == 0 {
		return l.on(toBoth, (*faultproxy.Proxy).Cut)
	}
	return l.on(toBoth, (*faultproxy.Proxy).Hang)
}
