package protocol

import "strings"

// The enums of bodies are read by name in any case or by Java's ordinal; what is unknown becomes empty, like Java's null.

// MessageModel says how a group shares its messages.
type MessageModel string

// The message models.
const (
	Broadcasting  MessageModel = "BROADCASTING"
	Clustering    MessageModel = "CLUSTERING"
	LiteSelective MessageModel = "LITE_SELECTIVE"
)

// UnmarshalText never fails. The Go client writes "Clustering".
func (m *MessageModel) UnmarshalText(text []byte) error {
	*m = enum(text, Broadcasting, Clustering, LiteSelective)
	return nil
}

// ConsumeType says whether a consumer pulls by itself, is pushed to, or pops.
type ConsumeType string

// The consume types.
const (
	ConsumeActively  ConsumeType = "CONSUME_ACTIVELY"
	ConsumePassively ConsumeType = "CONSUME_PASSIVELY"
	ConsumePop       ConsumeType = "CONSUME_POP"
)

// UnmarshalText never fails.
func (c *ConsumeType) UnmarshalText(text []byte) error {
	*c = enum(text, ConsumeActively, ConsumePassively, ConsumePop)
	return nil
}

// ConsumeFromWhere says where a group starts that has no offset yet.
type ConsumeFromWhere string

// The starts. Those of the middle are deprecated in Java, but clients still send them.
const (
	FromLastOffset          ConsumeFromWhere = "CONSUME_FROM_LAST_OFFSET"
	FromLastOffsetOrMinBoot ConsumeFromWhere = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST"
	FromMinOffset           ConsumeFromWhere = "CONSUME_FROM_MIN_OFFSET"
	FromMaxOffset           ConsumeFromWhere = "CONSUME_FROM_MAX_OFFSET"
	FromFirstOffset         ConsumeFromWhere = "CONSUME_FROM_FIRST_OFFSET"
	FromTimestamp           ConsumeFromWhere = "CONSUME_FROM_TIMESTAMP"
)

// UnmarshalText never fails.
func (c *ConsumeFromWhere) UnmarshalText(text []byte) error {
	*c = enum(text, FromLastOffset, FromLastOffsetOrMinBoot, FromMinOffset, FromMaxOffset, FromFirstOffset, FromTimestamp)
	return nil
}

func enum[E ~string](text []byte, names ...E) E {
	for i, name := range names {
		if strings.EqualFold(string(text), string(name)) || len(text) == 1 && int(text[0]-'0') == i {
			return name
		}
	}
	return ""
}
