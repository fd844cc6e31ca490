package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/internal/app"
	"github.com/seed-1972b8eb/signet/internal/backup"
	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

func newBackupCmd(env *cliEnv) *cobra.Command {
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write the whole database to one encrypted file", Args: usageArgs(cobra.ExactArgs(1)),
		Long: "Write the whole database to one new file, encrypted with age, from one consistent read; a running server goes on. The " +
			"master key and the pepper are never in it: keep them, and the identity or passphrase, apart from it. " +
			"--new-identity makes an identity for this and later backups.",
		Example: "  signet backup --new-identity backup.key first.backup\n  signet backup --recipient age1… nightly.backup",
	}
	flags := cmd.Flags()
	recipients := flags.StringArray("recipient", nil, "age recipient (age1…) that may open it; repeatable")
	passphrase := flags.String("passphrase-file", "", "file with a passphrase that opens it")
	identity := flags.String("new-identity", "", "make an age identity in this new file, and encrypt for it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		given := 0
		for _, set := range []bool{len(*recipients) > 0, *passphrase != "", *identity != ""} {
			if set {
				given++
			}
		}
		if given != 1 {
			return errOneOf("--recipient, --passphrase-file and --new-identity")
		}
		if _, err := os.Lstat(args[0]); err == nil {
			return refusal{fmt.Errorf("%s exists; a backup never overwrites", args[0])}
		}
		return env.withDatabase(cmd.Context(), func(cfg *config.Config, db *sqlstore.DB) error {
			to, err := env.recipients(*recipients, *passphrase, *identity)
			if err != nil {
				return err
			}
			rows, err := writeBackup(cmd.Context(), cfg, db, args[0], to)
			if err != nil {
				return fmt.Errorf("backup: %w", err)
			}
			env.talk("Wrote %d rows to %s.", rows, args[0])
			return nil
		})
	}
	return cmd
}

func (env *cliEnv) recipients(texts []string, passphrase, identity string) ([]age.Recipient, error) {
	switch {
	case passphrase != "":
		r, err := backup.PassphraseRecipient(passphrase)
		if err != nil {
			return nil, err
		}
		return []age.Recipient{r}, nil
	case identity != "":
		recipient, err := backup.NewIdentity(identity)
		if err != nil {
			return nil, err
		}
		env.talk("Made the identity %s: it alone opens the backup. Its recipient is %s.", identity, recipient)
		texts = []string{recipient}
	}
	return backup.Recipients(texts)
}

// writeBackup writes beside the wanted name and links the whole file to it at the end, so that no half backup ever has
// that name and none is overwritten.
func writeBackup(ctx context.Context, cfg *config.Config, db *sqlstore.DB, path string, to []age.Recipient) (_ int, err error) {
	header, err := backupHeader(ctx, cfg, db)
	if err != nil {
		return 0, err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".signet-backup-*") // mode 0600
	if err != nil {
		return 0, err
	}
	defer func() {
		_ = file.Close() // a second time where all went well
		if rerr := os.Remove(file.Name()); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}()
	w, err := backup.NewWriter(file, header, to...)
	if err != nil {
		return 0, err
	}
	if err := db.Dump(ctx, w.Row); err != nil {
		return 0, err
	}
	if err := errors.Join(w.Close(), file.Sync(), file.Close()); err != nil {
		return 0, err
	}
	if err := os.Link(file.Name(), path); err != nil {
		return 0, err
	}
	return w.Rows(), syncDir(filepath.Dir(path))
}

func backupHeader(ctx context.Context, cfg *config.Config, db *sqlstore.DB) (backup.Header, error) {
	master, pepper, err := app.RootKeys(ctx, cfg)
	if err != nil {
		return backup.Header{}, err
	}
	status, err := db.Status(ctx)
	if err != nil {
		return backup.Header{}, err
	}
	meta, err := db.Meta(ctx)
	if err != nil {
		return backup.Header{}, err
	}
	return backup.Header{
		Issuer: meta["issuer"], Schema: status.Version, CreatedAt: time.Now().UTC(), Program: version(),
		MasterKey: master.Fingerprints(), Pepper: pepper.Fingerprints(),
	}, nil
}

// syncDir makes a new name in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
