package sqlstore

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// dialect is what the two databases say differently. SQL text of this package is put together from it and from constants,
// never from values.
type dialect struct {
	name     string // of the directory of migrations
	greatest string // the function that returns the greater of two values
	now      string // the database's clock; a constant 0 where the process' own clock is the database's
	lock     string // appended to a SELECT to lock what it reads
	inTx     string // columns that set what must hold in a transaction of a change; one parameter: statement_timeout
	list     string // JSON text of a list of objects: fields, order, FROM clause
	label    string // condition on a client's labels: key, value
	table    string // a table made of a JSON list: columns
	column   string // one column of it: name, type
	fresh    string // whether a new cut-off counts as confirmed: not where it must be brought to Redis before
	server   string // a number that tells runs of the database's server apart; a constant where it is in the process
	trust    string // the trust row, and whether a cut-off is not confirmed; constants where there is no Redis
	beside   string // what it takes to have trust in a FROM clause
}

func postgresDialect() dialect {
	return dialect{
		name:     "postgres",
		greatest: "GREATEST",
		now:      "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
		lock:     "FOR UPDATE",
		inTx:     "set_config('synchronous_commit', 'on', true), set_config('statement_timeout', ?, true)",
		list:     "coalesce((SELECT json_agg(json_build_object(%s) ORDER BY %s)::text FROM %s), '[]')",
		label:    "labels::jsonb ->> ? = ?",
		table:    "json_to_recordset(?::json) AS given (%s)",
		column:   "%s %s",
		fresh:    "0",
		server:   "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint",
		trust: "t.write_id, t.read_id, t.generation, t.settled, " +
			"CASE WHEN EXISTS (SELECT 1 FROM cut_offs WHERE confirmed = 0) THEN 1 ELSE 0 END",
		beside: "JOIN redis_trust t ON t.one = e.one",
	}
}

func sqliteDialect() dialect {
	return dialect{
		name:     "sqlite",
		greatest: "max",
		now:      "0",
		inTx:     "'', ?", // synchronous=FULL and busy_timeout belong to the connection
		list:     "(SELECT json_group_array(json_object(%s) ORDER BY %s) FROM %s)",
		label:    "EXISTS (SELECT 1 FROM json_each(labels) WHERE key = ? AND value = ?)",
		table:    "(SELECT %s FROM json_each(?)) AS given",
		column:   "value ->> '%[1]s' AS %[1]s",
		fresh:    "1",
		server:   "0",
		trust:    "'', '', 0, 0, 0",
	}
}

// listOf returns the SQL of a column: JSON text of a list of objects with these fields ("name" or "name expression").
func (d dialect) listOf(fields []string, order, from string) string {
	pairs := make([]string, len(fields))
	for i, field := range fields {
		name, expression, found := strings.Cut(field, " ")
		if !found {
			expression = name
		}
		pairs[i] = "'" + name + "', " + expression
	}
	return fmt.Sprintf(d.list, strings.Join(pairs, ", "), order, from)
}

// given returns the SQL of a table "given" whose rows come as one parameter, a JSON list of objects (see encode): one
// prepared statement for any number of rows. Columns are "name type".
func (d dialect) given(columns ...string) string {
	parts := make([]string, len(columns))
	for i, column := range columns {
		name, kind, _ := strings.Cut(column, " ")
		if strings.Contains(d.column, "%[1]s") {
			parts[i] = fmt.Sprintf(d.column, name)
		} else {
			parts[i] = fmt.Sprintf(d.column, name, kind)
		}
	}
	return fmt.Sprintf(d.table, strings.Join(parts, ", "))
}

// instant is a point in time as it is stored: microseconds since 1970, NULL for the zero time.
type instant int64

func instantOf(t time.Time) instant {
	if t.IsZero() {
		return 0
	}
	return instant(t.UnixMicro())
}

func (i instant) time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(i)).UTC()
}

// Value implements driver.Valuer.
func (i instant) Value() (driver.Value, error) {
	if i == 0 {
		return nil, nil //nolint:nilnil // NULL
	}
	return int64(i), nil
}

// Scan implements sql.Scanner.
func (i *instant) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*i = 0
	case int64:
		*i = instant(v)
	default:
		return fmt.Errorf("time is stored as %T", value)
	}
	return nil
}

// flag is truth as it is stored.
func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// encode returns the JSON text of a list or map; a nil one is stored as the empty one.
func encode[T any](v T) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode for the database: %w", err)
	}
	return string(text), nil
}

// encodeMap is encode for maps: nil becomes {}.
func encodeMap[V any](m map[string]V) (string, error) {
	if m == nil {
		m = map[string]V{}
	}
	return encode(m)
}

// encodeList is encode for lists: nil becomes [].
func encodeList[V any](list []V) (string, error) {
	if list == nil {
		list = []V{}
	}
	return encode(list)
}

// storable says whether a text can be in the database at all. IDs come from the network; PostgreSQL answers a question
// about one with a NUL or broken UTF-8 with an error, which would look like an outage.
func storable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsRune(text, 0)
}
