// Package backup owns the backup file: every row of the database in one file that is encrypted with age, whole or worthless.
// What a row means, and how it gets back into a database, is the work of package sqlstore. The master key and the pepper
// are never in a backup: they are kept elsewhere, and without them it opens no key and matches no secret.
//
// Inside the encryption is a gzip stream of JSON, one value a line: a Header, the rows, and a trailer with their number and
// the SHA-256 of all lines before it. age authenticates every byte; the trailer tells a file that was cut at the end of a
// row, or written by a program that failed, from a whole one.
package backup

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-1972b8eb/signet/internal/rootkeys"
)

// The first member of every backup, and the version of the form that this program writes and reads.
const (
	formatName    = "signet-backup"
	formatVersion = 1
)

// maxLine bounds one row, in bytes of JSON.
const maxLine = 16 << 20

// Errors that callers tell apart.
var (
	// ErrKey means that the identity or passphrase does not open the file.
	ErrKey = errors.New("backup is encrypted for another key or passphrase")
	// ErrDamaged means that the file is no backup, was cut or was changed.
	ErrDamaged = errors.New("backup is damaged or none")
	// ErrVersion means that a later program wrote the file.
	ErrVersion = errors.New("backup has a form that this program does not know")
	// ErrRootKeys means that the root keys in place are not those under which the backup was made.
	ErrRootKeys = errors.New("root keys are not those of the backup")
)

// Header says what a backup is of.
type Header struct {
	Format    string            `json:"format"`
	Version   int               `json:"version"`
	Issuer    string            `json:"issuer"`
	Schema    int64             `json:"schema"` // version of the database schema
	CreatedAt time.Time         `json:"created_at"`
	Program   string            `json:"program"`    // version of the program that wrote it
	MasterKey map[string]string `json:"master_key"` // fingerprint of each version
	Pepper    map[string]string `json:"pepper"`
}

// Row is one row of one table: values are string, json.Number or nil.
type Row struct {
	Table  string         `json:"t"`
	Values map[string]any `json:"v"`
}

// trailer is the last line.
type trailer struct {
	Rows   int    `json:"rows"`
	SHA256 string `json:"sha256"`
}

// CheckRootKeys refuses sets that lack a key of the backup, before anything is restored. Newer versions beside are fine.
func (h *Header) CheckRootKeys(master, pepper rootkeys.Set) error {
	for what, pair := range map[string][2]map[string]string{
		"master key": {h.MasterKey, master.Fingerprints()}, "pepper": {h.Pepper, pepper.Fingerprints()},
	} {
		for version, want := range pair[0] {
			if got, loaded := pair[1][version]; !loaded || got != want {
				return fmt.Errorf("%w: version %s of the %s differs or is missing", ErrRootKeys, version, what)
			}
		}
	}
	return nil
}
