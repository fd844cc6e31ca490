package tokens

import (
	"crypto/sha256"
	"sync"
)

// verifiedKept is how many tokens a verified remembers at least, once it has seen as many. Each takes about 50 bytes.
const verifiedKept = 4096

// verified remembers which texts had a good signature. Resource servers ask about the same token again and again, and the
// signature is most of what an answer costs. Only that is remembered: whether the key still counts, and the times, are looked
// at each time. A text names its key by a thumbprint, so what was good stays good. Safe for concurrent use.
type verified struct {
	mu            sync.Mutex
	newer, before map[[sha256.Size]byte]struct{} // when newer is full it takes the place of before
}

func (v *verified) has(text string) bool {
	sum := sha256.Sum256([]byte(text))
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.newer[sum]; ok {
		return true
	}
	_, ok := v.before[sum]
	if ok {
		v.put(sum) // what is asked for stays
	}
	return ok
}

func (v *verified) add(text string) {
	sum := sha256.Sum256([]byte(text))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.put(sum)
}

// put is called with mu held.
func (v *verified) put(sum [sha256.Size]byte) {
	if v.newer == nil || len(v.newer) >= verifiedKept {
		v.newer, v.before = map[[sha256.Size]byte]struct{}{}, v.newer
	}
	v.newer[sum] = struct{}{}
}
