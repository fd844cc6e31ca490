package backup

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"filippo.io/age"
)

// Writer writes one backup. A backup without Close is damaged on purpose.
type Writer struct {
	sealed io.WriteCloser
	gzip   *gzip.Writer
	lines  *json.Encoder
	sum    hash.Hash
	rows   int
}

// NewWriter begins a backup for whoever holds the identity of a recipient. Format and Version of h are filled in.
func NewWriter(w io.Writer, h Header, recipients ...age.Recipient) (*Writer, error) {
	if len(recipients) == 0 {
		return nil, errors.New("backup needs a recipient or a passphrase")
	}
	sealed, err := age.Encrypt(w, recipients...)
	if err != nil {
		return nil, fmt.Errorf("begin encryption: %w", err)
	}
	b := &Writer{sealed: sealed, gzip: gzip.NewWriter(sealed), sum: sha256.New()}
	b.lines = json.NewEncoder(io.MultiWriter(b.gzip, b.sum))
	b.lines.SetEscapeHTML(false)
	h.Format, h.Version = formatName, formatVersion
	if err := b.lines.Encode(h); err != nil {
		return nil, fmt.Errorf("write header: %w", err)
	}
	return b, nil
}

// Row adds one row. Its values are string, int64 or nil.
func (b *Writer) Row(table string, values map[string]any) error {
	for column, v := range values {
		switch v.(type) {
		case nil, string, int64:
		default: // anything else would come back as something else
			return fmt.Errorf("write row of %s: column %s is a %T", table, column, v)
		}
	}
	if err := b.lines.Encode(Row{Table: table, Values: values}); err != nil {
		return fmt.Errorf("write row of %s: %w", table, err)
	}
	b.rows++
	return nil
}

// Rows is how many rows were written.
func (b *Writer) Rows() int { return b.rows }

// Close writes the trailer and ends the encryption. The underlying writer stays open, and is the caller's to sync.
func (b *Writer) Close() error {
	t := trailer{Rows: b.rows, SHA256: hex.EncodeToString(b.sum.Sum(nil))}
	if err := b.lines.Encode(t); err != nil {
		return fmt.Errorf("write trailer: %w", err)
	}
	if err := errors.Join(b.gzip.Close(), b.sealed.Close()); err != nil {
		return fmt.Errorf("end backup: %w", err)
	}
	return nil
}
