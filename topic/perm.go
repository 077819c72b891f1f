package topic

// Perm is the permission of a topic, bits. Source: Java PermName.
type Perm int32

// The bits of a Perm.
const (
	PermInherit  Perm = 1 // a template for topics that are created by sending
	PermWrite    Perm = 2
	PermRead     Perm = 4
	PermPriority Perm = 8
)

// Readable tells whether messages may be pulled.
func (p Perm) Readable() bool { return p&PermRead != 0 }

// Writable tells whether messages may be sent.
func (p Perm) Writable() bool { return p&PermWrite != 0 }

// Inheritable tells whether the topic is a template.
func (p Perm) Inheritable() bool { return p&PermInherit != 0 }

// Valid tells whether no unknown bit is set. Source: Java PermName.isValid.
func (p Perm) Valid() bool { return p >= 0 && p < PermPriority }

// String writes a Perm as Java tools show it: "RW-".
func (p Perm) String() string {
	b := []byte("---")
	if p.Readable() {
		b[0] = 'R'
	}
	if p.Writable() {
		b[1] = 'W'
	}
	if p.Inheritable() {
		b[2] = 'X'
	}
	return string(b)
}

// Bits of Config.SysFlag. Source: Java TopicSysFlag.
const (
	FlagUnit    int32 = 1
	FlagUnitSub int32 = 2
)
