package sqlstore

import (
	"fmt"
	"maps"
	"slices"

	"gorm.io/gorm"

	"github.com/seed-1972b8eb/signet/internal/clients"
)

// storeParts makes the stored secrets, grants and introspection rights equal to after's.
func (c *change) storeParts(before, after *clients.Client) error {
	if err := c.storeSecrets(before, after); err != nil {
		return err
	}
	if was, is := grantRowsOf(before), grantRowsOf(after); !slices.Equal(was, is) {
		if err := replaceRows(c.tx, after.ID, is); err != nil {
			return clientError("store grants", err)
		}
	}
	if was, is := introspectRowsOf(before), introspectRowsOf(after); !slices.Equal(was, is) {
		if err := replaceRows(c.tx, after.ID, is); err != nil {
			return clientError("store introspection rights", err)
		}
	}
	return nil
}

// replaceRows replaces a client's rows of one table.
func replaceRows[R grantRow | introspectRow](tx *gorm.DB, client string, rows []R) error {
	if err := tx.Where("client_id = ?", client).Delete(new(R)).Error; err != nil {
		return err
	}
	if len(rows) == 0 {
		return nil
	}
	return tx.CreateInBatches(rows, 500).Error
}

// storeSecrets writes new and changed secrets and deletes those that are gone. When a secret was last used is not written
// here: the usage flush may know better by now.
func (c *change) storeSecrets(before, after *clients.Client) error {
	if len(before.Secrets)+len(after.Secrets) == 0 {
		return nil
	}
	var rows []secretRow
	if err := c.tx.Where("client_id = ?", after.ID).Order("position").Find(&rows).Error; err != nil {
		return fmt.Errorf("read secrets: %w", err)
	}
	stored := make(map[string]secretRow, len(rows))
	var last int64
	for _, row := range rows {
		stored[row.ID] = row
		last = row.Position
	}
	for _, secret := range after.Secrets {
		old, known := stored[secret.ID]
		delete(stored, secret.ID)
		if !known {
			last++
			old.Position = last
		}
		row := secretRowOf(after.ID, old.Position, secret)
		if row == old {
			continue
		}
		if err := c.tx.Save(&row).Error; err != nil {
			return fmt.Errorf("store secret %s: %w", secret.ID, err)
		}
	}
	return c.deleteSecrets(slices.Sorted(maps.Keys(stored)))
}

func (c *change) deleteSecrets(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	if err := c.tx.Exec("DELETE FROM client_secrets WHERE id IN ?", ids).Error; err != nil {
		return fmt.Errorf("delete secrets: %w", err)
	}
	return c.forgetUses("subject IN ?", ids)
}

// forgetUses deletes last uses. It locks them in rising order of the subject, as the usage flush does: otherwise the two
// could wait for each other.
func (c *change) forgetUses(where string, args ...any) error {
	err := c.tx.Exec("DELETE FROM last_used WHERE subject IN (SELECT subject FROM last_used WHERE "+where+
		" ORDER BY subject "+c.db.dialect.lock+")", args...).Error
	if err != nil {
		return fmt.Errorf("delete last uses: %w", err)
	}
	return nil
}
