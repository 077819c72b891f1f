package protocol

// RequestMode says how the members of a group get messages: by pulls, each from its own queues, or by pops.
type RequestMode string

// The modes. Source: Java MessageRequestMode.
const (
	ModePull RequestMode = "PULL"
	ModePop  RequestMode = "POP"
)

// UnmarshalText never fails.
func (m *RequestMode) UnmarshalText(text []byte) error {
	*m = enum(text, ModePull, ModePop)
	return nil
}

// SetMessageRequestModeRequestBody says how a group gets the messages of a topic.
type SetMessageRequestModeRequestBody struct {
	ConsumerGroup    string      `json:"consumerGroup,omitempty"`
	Mode             RequestMode `json:"mode,omitempty"`
	PopShareQueueNum int32       `json:"popShareQueueNum"` // with how many more members a queue is shared; 0 and less: with all
	Topic            string      `json:"topic,omitempty"`
}

// Defaults sets the mode of one that names none.
func (m *SetMessageRequestModeRequestBody) Defaults() {
	*m = SetMessageRequestModeRequestBody{Mode: ModePull}
}

// QueryAssignmentRequestBody asks which queues a client has of a topic.
type QueryAssignmentRequestBody struct {
	ClientID      string       `json:"clientId,omitempty"`
	ConsumerGroup string       `json:"consumerGroup,omitempty"`
	MessageModel  MessageModel `json:"messageModel,omitempty"`
	StrategyName  string       `json:"strategyName,omitempty"`
	Topic         string       `json:"topic,omitempty"`
}

// QueryAssignmentResponseBody has a client's queues of a topic. Without a list the client keeps what it has; an empty list
// takes everything from it.
type QueryAssignmentResponseBody struct {
	MessageQueueAssignments *[]MessageQueueAssignment `json:"messageQueueAssignments"`
}

// MessageQueueAssignment is one queue of a client, and how it gets the messages of it. Queue id -1 is all queues of a broker.
type MessageQueueAssignment struct {
	MessageQueue MessageQueue `json:"messageQueue"`
	Mode         RequestMode  `json:"mode,omitempty"`
}
