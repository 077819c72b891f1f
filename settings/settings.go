package settings

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"rocketd/internal/properties"
	"rocketd/internal/vfs"
)

// Settings is the configuration of one role. Later sources win: defaults, file, flags, updates at run time.
// All methods may be called from any goroutine; none is made for a hot path, which keeps the value in a field of
// its own and renews it by OnChange.
type Settings struct {
	role    role
	machine Machine
	fs      vfs.FS
	log     *slog.Logger
	keys    map[string]*key

	mu       sync.Mutex
	defaults map[string]string   // set by Default, canonical
	file     map[string]string   // as written in the file, and by updates; written back
	flags    map[string]string   // as given on the command line; never written back
	values   map[string]string   // canonical and in force, without defaults
	asked    map[string]bool     // keys that somebody reads
	bells    map[string][]func() // called after an update changed the key
	path     string              // of the file; "" if there is none
	counter  int64               // updates so far
	changed  time.Time
}

// role says which keys there are and how they are shown.
type role struct {
	classes []string          // of config-keys.tsv
	quiet   []string          // classes whose keys are printed only when set
	further []string          // keys that are texts of no class: Java looks for them in the file by themselves
	initial map[string]string // defaults that Java's start-up code sets
	listen  map[string]string // Java system property → key that it is the default of
	banned  []string          // keys that no update may touch
	pathKey string            // key that tells, and is told, where the file is
}

// The system properties that Java's network settings are initialised from.
var netty = map[string]string{
	"com.rocketmq.remoting.socket.sndbuf.size":           "serverSocketSndBufSize",
	"com.rocketmq.remoting.socket.rcvbuf.size":           "serverSocketRcvBufSize",
	"com.rocketmq.remoting.socket.backlog":               "serverSocketBacklog",
	"com.rocketmq.remoting.write.buffer.high.water.mark": "writeBufferHighWaterMark",
	"com.rocketmq.remoting.write.buffer.low.water.mark":  "writeBufferLowWaterMark",
	"com.rocketmq.remoting.client.connect.timeout":       "connectTimeoutMillis",
}

// NewNamesrv returns the settings of a NameServer, all at their defaults.
func NewNamesrv(m Machine, log *slog.Logger) *Settings {
	return newSettings(m, log, role{
		classes: []string{"NamesrvConfig", "NettyServerConfig"},
		initial: map[string]string{"listenPort": "9876", "scanNotActiveBrokerInterval": "10000"}, // Java scans each 5 s
		listen:  netty,
		banned:  []string{"configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"},
		pathKey: "configStorePath",
	})
}

// NewBroker returns the settings of a broker, all at their defaults. haListenPort 0 stands for listenPort+1.
func NewBroker(m Machine, log *slog.Logger) *Settings {
	initial := map[string]string{"listenPort": "10911", "haListenPort": "0"}
	if m.NamesrvAddr != "" {
		initial["namesrvAddr"] = m.NamesrvAddr
	}
	return newSettings(m, log, role{
		classes: []string{"BrokerConfig", "NettyServerConfig", "NettyClientConfig", "MessageStoreConfig", "AuthConfig"},
		quiet:   []string{"AuthConfig"},
		further: []string{"rmqAddressServerDomain", "rmqAddressServerSubGroup"},
		initial: initial,
		listen:  netty,
		banned:  []string{"configBlackList", "brokerConfigPath", "rocketmqHome"},
	})
}

func newSettings(m Machine, log *slog.Logger, r role) *Settings {
	s := &Settings{
		role: r, machine: m, fs: vfs.OS, log: log,
		keys:     parseKeys(m, r.classes...),
		defaults: map[string]string{}, file: map[string]string{}, flags: map[string]string{},
		values: map[string]string{}, asked: map[string]bool{}, bells: map[string][]func(){},
		changed: time.Now(),
	}
	s.asked["configBlackList"] = true
	s.asked[r.pathKey] = true
	for name := range parseKeys(m, r.quiet...) {
		s.keys[name].absent = true
	}
	for _, name := range r.further {
		s.keys[name] = &key{name: name, absent: true}
	}
	for property, name := range r.listen {
		if v, ok := m.Properties[property]; ok && s.keys[name] != nil {
			s.Default(name, v)
		}
	}
	for name, v := range r.initial {
		s.Default(name, v)
	}
	return s
}

// Default replaces a default. A value that does not parse is warned about and changes nothing.
func (s *Settings) Default(name, value string) {
	k := s.known(name)
	v, err := k.parse(s.machine.expand(value))
	if err != nil {
		s.log.Warn("default is not usable", "key", name, "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.defaults[name] = v
}

// ReadFile reads a property file; updates are written back to it. It fails if the file cannot be read. Unknown
// keys and values that do not parse are warned about and without effect.
func (s *Settings) ReadFile(path string) error {
	data, err := vfs.ReadFile(s.fs, path)
	if err != nil {
		return fmt.Errorf("cannot read configuration: %w", err)
	}
	props, err := properties.Parse(data)
	if err != nil {
		return fmt.Errorf("cannot read configuration %q: %w", path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.path = path
	for _, name := range slices.Sorted(maps.Keys(props)) {
		s.file[name] = props[name]
		if _, ok := s.flags[name]; !ok {
			s.apply(name, props[name], "file", path)
		}
	}
	if s.role.pathKey != "" {
		s.values[s.role.pathKey] = path
	}
	return nil
}

// StoreAt names the file that updates are written to when none was read.
func (s *Settings) StoreAt(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path == "" {
		s.path = path
	}
}

// Set gives a key a value from the command line. It wins over the file and is not written back to it.
func (s *Settings) Set(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flags[name] = value
	s.apply(name, value, "source", "command line")
}

// apply puts a value in force, or warns. s.mu is held. where is one key and value for the log.
func (s *Settings) apply(name, value string, where ...any) bool {
	k := s.keys[name]
	if k == nil {
		s.log.Warn("unknown configuration key", append([]any{"key", name}, where...)...)
		return false
	}
	if k.fixed {
		s.log.Warn("configuration key cannot be set", append([]any{"key", name}, where...)...)
		return false
	}
	v, err := k.parse(s.machine.expand(value))
	if err != nil {
		s.log.Warn("configuration value is not usable, keeping the one before", append([]any{"key", name, "keeping", s.get(k), "err", err}, where...)...)
		return false
	}
	if k.kind == kindBool && v == "false" && !strings.EqualFold(strings.TrimSpace(value), "false") {
		s.log.Warn("configuration value is read as false", append([]any{"key", name, "value", value}, where...)...)
	}
	s.values[name] = v
	return true
}

// get returns the value in force. s.mu is held.
func (s *Settings) get(k *key) string {
	if v, ok := s.values[k.name]; ok {
		return v
	}
	if v, ok := s.defaults[k.name]; ok {
		return v
	}
	return k.initial
}

func (s *Settings) known(name string) *key {
	k := s.keys[name]
	if k == nil {
		panic("settings: no such key: " + name)
	}
	return k
}

// String returns the value of a key, "" if it has none. Asking for a key that the role does not have panics, here
// and in the other getters: it is a mistake of ours.
func (s *Settings) String(name string) string {
	k := s.known(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[name] = true
	return s.get(k)
}

// Int64 returns the value of a whole-numbered key.
func (s *Settings) Int64(name string) int64 {
	n, err := strconv.ParseInt(s.String(name), 10, 64)
	if err != nil {
		panic("settings: not a number: " + name)
	}
	return n
}

// Int returns the value of a whole-numbered key.
func (s *Settings) Int(name string) int { return int(s.Int64(name)) }

// Float returns the value of a key of type double.
func (s *Settings) Float(name string) float64 {
	d, err := strconv.ParseFloat(s.String(name), 64)
	if err != nil {
		panic("settings: not a number: " + name)
	}
	return d
}

// Bool returns the value of a key of type boolean.
func (s *Settings) Bool(name string) bool { return s.String(name) == "true" }

// Duration returns the value of a key that counts milliseconds.
func (s *Settings) Duration(name string) time.Duration {
	return time.Duration(s.Int64(name)) * time.Millisecond
}

// IsSet tells whether the file, a flag or an update gave the key a usable value.
func (s *Settings) IsSet(name string) bool {
	s.known(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.values[name]
	return ok
}

// Property returns a Java system property given in JAVA_OPT or JAVA_OPT_EXT, "" if absent.
func (s *Settings) Property(name string) string { return s.machine.Properties[name] }

// Zone is the zone that this process stands in, "" where none is told.
func (s *Settings) Zone() string { return s.machine.Zone }

// Unasked returns the keys that were set but that nobody has asked for: they have no effect. A role calls it once
// when it is built and warns. Sorted.
func (s *Settings) Unasked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.values {
		if !s.asked[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Effective returns every key with the value in force, without those that have none.
func (s *Settings) Effective() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.effective(func(*key) bool { return true })
}

func (s *Settings) effective(show func(*key) bool) map[string]string {
	all := make(map[string]string, len(s.keys))
	for name, k := range s.keys {
		_, set := s.values[name]
		_, given := s.defaults[name]
		if show(k) && (set || given || !k.absent) {
			all[name] = s.get(k)
		}
	}
	return all
}

// Text prints every key in force as Java answers it: "key=value" lines in the order of the keys, unescaped. It is
// the body of GET_BROKER_CONFIG and GET_NAMESRV_CONFIG and what -p prints.
func (s *Settings) Text() string { return text(s.Effective()) }

// ImportantText is Text with the keys only that Java marks important, which -m prints.
func (s *Settings) ImportantText() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return text(s.effective(func(k *key) bool { return k.important }))
}

func text(values map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		b.WriteString(name)
		b.WriteByte('=')
		b.WriteString(values[name])
		b.WriteByte('\n')
	}
	return b.String()
}
