package backup

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"

	"filippo.io/age"
)

// Reader reads one backup.
type Reader struct {
	header Header
	lines  *bufio.Reader
	sum    hash.Hash
	rows   int
}

// NewReader opens a backup and reads its header. ErrKey, ErrDamaged, ErrVersion.
func NewReader(r io.Reader, identities ...age.Identity) (*Reader, error) {
	if len(identities) == 0 {
		return nil, errors.New("backup needs an identity or a passphrase")
	}
	plain, err := age.Decrypt(r, identities...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, ErrKey
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	unzipped, err := gzip.NewReader(plain)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	b := &Reader{lines: bufio.NewReader(unzipped), sum: sha256.New()}
	line, err := b.line()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(line, &b.header); err != nil || b.header.Format != formatName {
		return nil, fmt.Errorf("%w: it does not begin like one", ErrDamaged)
	}
	if b.header.Version != formatVersion {
		return nil, fmt.Errorf("%w: version %d, known is %d", ErrVersion, b.header.Version, formatVersion)
	}
	b.sum.Write(line)
	return b, nil
}

// Header says what the backup is of.
func (b *Reader) Header() Header { return b.header }

// Rows yields every row, once. The last yield is an error when the backup is not whole: whoever loads the rows must do it
// in one transaction, and undo it then.
func (b *Reader) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for {
			row, end, err := b.next()
			if err != nil {
				yield(Row{}, err)
				return
			}
			if end || !yield(row, nil) {
				return
			}
		}
	}
}

// next reads a row, or the trailer and what must be after it: nothing.
func (b *Reader) next() (Row, bool, error) {
	line, err := b.line()
	if err != nil {
		return Row{}, false, err
	}
	var either struct {
		Row
		trailer
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	if err := dec.Decode(&either); err != nil {
		return Row{}, false, fmt.Errorf("%w: row %d is unreadable", ErrDamaged, b.rows+1)
	}
	if either.Table != "" {
		b.sum.Write(line)
		b.rows++
		return either.Row, false, nil
	}
	if either.SHA256 != hex.EncodeToString(b.sum.Sum(nil)) || either.trailer.Rows != b.rows {
		return Row{}, false, fmt.Errorf("%w: its checksum does not match", ErrDamaged)
	}
	if _, err := b.lines.ReadByte(); !errors.Is(err, io.EOF) {
		return Row{}, false, fmt.Errorf("%w: something follows its end", ErrDamaged)
	}
	return Row{}, true, nil
}

// line reads one line with its newline.
func (b *Reader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := b.lines.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull) && len(line) < maxLine:
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: it ends too early", ErrDamaged)
		default:
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
}
