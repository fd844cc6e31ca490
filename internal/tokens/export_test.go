package tokens

// VerifiedKept is verifiedKept.
const VerifiedKept = verifiedKept

// Verified is a verified that tests look into.
type Verified struct{ verified }

// NewVerified remembers nothing yet.
func NewVerified() *Verified { return &Verified{} }

// Add remembers a text.
func (v *Verified) Add(text string) { v.add(text) }

// Has says whether a text is remembered.
func (v *Verified) Has(text string) bool { return v.has(text) }

// Len is how many are remembered.
func (v *Verified) Len() int { return len(v.newer) + len(v.before) }
