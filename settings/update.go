package settings

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"rocketd/internal/durable"
	"rocketd/internal/properties"
)

// ErrBanned is returned for an update that names a key which may not change at run time; then nothing was changed.
var ErrBanned = errors.New("configuration key may not be updated")

// OnChange has fn called after an update gave the key another value, from the goroutine that updates. A key
// without such a function, and that is not read anew where it matters, takes effect at the next start.
func (s *Settings) OnChange(name string, fn func()) {
	s.known(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bells[name] = append(s.bells[name], fn)
}

// Update changes keys at run time and writes them to the file, if there is one. The keys in configBlackList, and
// those that Java protects always, are refused with ErrBanned. Unknown keys and unusable values are warned about
// and skipped, as in Java. An error of writing leaves the new values in force.
// Source: Java Configuration.update, AdminBrokerProcessor.validateBlackListConfigExist.
func (s *Settings) Update(changes map[string]string, now time.Time) error {
	banned := append(strings.Split(s.String("configBlackList"), ";"), s.role.banned...)
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		if slices.ContainsFunc(banned, func(b string) bool { return strings.TrimSpace(b) == name }) {
			return fmt.Errorf("%w: %s", ErrBanned, name)
		}
	}
	ring, err := s.update(changes, now)
	for _, fn := range ring {
		fn()
	}
	return err
}

func (s *Settings) update(changes map[string]string, now time.Time) (ring []func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		value := strings.TrimSpace(changes[name])
		k := s.keys[name]
		if k == nil {
			s.log.Warn("unknown configuration key", "key", name, "source", "update")
			continue
		}
		before := s.get(k)
		if !s.apply(name, value, "source", "update") {
			continue
		}
		s.file[name] = value
		delete(s.flags, name)
		if before != s.get(k) {
			ring = append(ring, s.bells[name]...)
		}
	}
	s.counter++
	s.changed = now
	path := s.path
	if path == "" && s.role.pathKey != "" {
		path = s.get(s.known(s.role.pathKey))
	}
	if path != "" {
		if err = durable.Write(s.fs, path, []byte(properties.Text(s.file))); err != nil {
			err = fmt.Errorf("cannot write configuration: %w", err)
		}
	}
	return ring, err
}

// Version tells how often the settings were updated and when last; before that, when they were made. It is the
// DataVersion that GET_BROKER_CONFIG answers.
func (s *Settings) Version() (counter int64, changed time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counter, s.changed
}
