package daemon

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CopyTree copies a directory of plain files; the copy is readable by its owner only.
func CopyTree(source, target string) error {
	return copyTree(source, target, func(string) error { return nil })
}

// CopyFile copies a file; the copy is readable by its owner only.
func CopyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy file: %w", err)
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("copy file: %w", err)
	}
	if _, err := target.ReadFrom(source); err != nil {
		_ = target.Close()
		return fmt.Errorf("copy file: %w", err)
	}
	return target.Close()
}

// copyTree calls own with each copy.
func copyTree(source, target string, own func(path string) error) error {
	return filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("copy directory: %w", err)
		}
		inner, err := filepath.Rel(source, path)
		if err != nil {
			return fmt.Errorf("copy directory: %w", err)
		}
		to := filepath.Join(target, inner)
		if entry.IsDir() {
			err = os.Mkdir(to, 0o700)
		} else {
			err = CopyFile(path, to)
		}
		if err != nil {
			return err
		}
		return own(to)
	})
}
