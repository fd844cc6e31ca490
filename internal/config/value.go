package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// parseText reads an option's value from its text form: of a variable, a flag or a YAML scalar. The error says what is
// wanted and does not repeat the text, which may be a secret put in the wrong place.
func parseText(k kind, text string) (any, error) {
	switch k {
	case kindBool:
		v, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("want true or false")
		}
		return v, nil
	case kindInt:
		v, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("want a whole number")
		}
		return v, nil
	case kindFloat:
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("want a number")
		}
		return v, nil
	case kindDuration:
		return ParseDuration(text)
	case kindList, kindCIDRs:
		return parseList(k, strings.FieldsFunc(text, func(r rune) bool { return r == ',' }))
	default:
		return text, nil
	}
}

// parseList checks the elements of a list. They stay text until koanf has merged the layers.
func parseList(k kind, elements []string) (any, error) {
	out := make([]string, 0, len(elements))
	for i, e := range elements {
		e = strings.TrimSpace(e)
		if k == kindCIDRs {
			p, err := netip.ParsePrefix(e)
			if err != nil {
				return nil, fmt.Errorf("element %d: want a network such as 10.0.0.0/8", i+1)
			}
			if p.Masked() != p {
				return nil, fmt.Errorf("element %d: has bits beyond its prefix length; %s is the network", i+1, p.Masked())
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// ParseDuration reads a length of time as time.ParseDuration does, and whole days too: "90d", "1d12h".
func ParseDuration(text string) (time.Duration, error) {
	wrong := fmt.Errorf("want a length of time such as 30s, 5m, 24h or 90d")
	days, rest, found := strings.Cut(text, "d")
	if !found {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, wrong
		}
		return d, nil
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, wrong
	}
	d := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return d, nil
	}
	part, err := time.ParseDuration(rest)
	if err != nil || part < 0 {
		return 0, wrong
	}
	return d + part, nil
}

// FormatDuration writes a length of time as people write it: "30d", "5m", "1h30m".
func FormatDuration(d time.Duration) string {
	if day := 24 * time.Hour; d > 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
