package backup

import (
	"compress/gzip"
	"io"
)

// gzipTo is what the writer puts inside the encryption.
func gzipTo(w io.Writer) *gzip.Writer { return gzip.NewWriter(w) }
