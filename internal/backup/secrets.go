package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"filippo.io/age"
)

// minPassphrase is the least number of characters of a passphrase: a backup can be guessed at for ever.
const minPassphrase = 16

// maxKeyFile bounds a file of identities or a passphrase.
const maxKeyFile = 64 << 10

// Recipients reads age X25519 recipients, "age1…".
func Recipients(texts []string) ([]age.Recipient, error) {
	var out []age.Recipient
	for _, text := range texts {
		r, err := age.ParseX25519Recipient(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("recipient %q is none of age's, such as age1…", text)
		}
		out = append(out, r)
	}
	return out, nil
}

// PassphraseRecipient encrypts for whoever knows the passphrase in a file.
func PassphraseRecipient(path string) (*age.ScryptRecipient, error) {
	text, err := passphrase(path)
	if err != nil {
		return nil, err
	}
	if len([]rune(text)) < minPassphrase {
		return nil, fmt.Errorf("passphrase in %s has fewer than %d characters", path, minPassphrase)
	}
	return age.NewScryptRecipient(text)
}

// PassphraseIdentity opens what PassphraseRecipient encrypted.
func PassphraseIdentity(path string) (age.Identity, error) {
	text, err := passphrase(path)
	if err != nil {
		return nil, err
	}
	return age.NewScryptIdentity(text)
}

// Identities reads a file of age identities, as age-keygen makes it.
func Identities(path string) ([]age.Identity, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	ids, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s holds no age identity", path) // age's error may quote the line
	}
	return ids, nil
}

// NewIdentity makes an age identity in a new file for its owner alone, and returns its recipient.
func NewIdentity(path string) (string, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", fmt.Errorf("make identity: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintf(f, "# public key: %s\n%s\n", id.Recipient(), id)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return id.Recipient().String(), nil
}

func passphrase(path string) (string, error) {
	text, err := readPrivate(path)
	if err != nil {
		return "", err
	}
	text = strings.TrimRight(text, "\r\n")
	if text == "" {
		return "", fmt.Errorf("%s holds no passphrase", path)
	}
	return text, nil
}

// readPrivate reads a file that nobody else may read.
func readPrivate(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return "", fmt.Errorf("%s is no file of a key or passphrase", path)
	}
	if mode := info.Mode() & fs.ModePerm; mode&0o077 != 0 {
		return "", fmt.Errorf("%s has mode %04o: others may read it; chmod 600 %s", path, mode, path)
	}
	text, err := os.ReadFile(path)
	return string(text), err
}
