package message

// Names of properties that the product itself gives a meaning, by Java's constant names (PROPERTY_KEYS is PropKeys;
// PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX is PropUniqKey). Source: Java MessageConst 5.5.1.
const (
	PropKeys                           = "KEYS"
	PropTags                           = "TAGS"
	PropWaitStoreMsgOK                 = "WAIT"
	PropDelayTimeLevel                 = "DELAY"
	PropRetryTopic                     = "RETRY_TOPIC"
	PropOriginGroup                    = "ORIGIN_GROUP"
	PropRealTopic                      = "REAL_TOPIC"
	PropRealQueueID                    = "REAL_QID"
	PropTransactionPrepared            = "TRAN_MSG"
	PropProducerGroup                  = "PGROUP"
	PropMinOffset                      = "MIN_OFFSET"
	PropMaxOffset                      = "MAX_OFFSET"
	PropBuyerID                        = "BUYER_ID"
	PropOriginMessageID                = "ORIGIN_MESSAGE_ID"
	PropTransferFlag                   = "TRANSFER_FLAG"
	PropCorrectionFlag                 = "CORRECTION_FLAG"
	PropMQ2Flag                        = "MQ2_FLAG"
	PropReconsumeTime                  = "RECONSUME_TIME"
	PropMsgRegion                      = "MSG_REGION"
	PropTraceSwitch                    = "TRACE_ON"
	PropUniqKey                        = "UNIQ_KEY"
	PropTransOffset                    = "TRANS_OFFSET"
	PropExtendUniqInfo                 = "EXTEND_UNIQ_INFO"
	PropMaxReconsumeTimes              = "MAX_RECONSUME_TIMES"
	PropConsumeStartTimestamp          = "CONSUME_START_TIME"
	PropPriority                       = "_SYS_MSG_PRIORITY_"
	PropInnerNum                       = "INNER_NUM"
	PropInnerBase                      = "INNER_BASE"
	PropDupInfo                        = "DUP_INFO"
	PropCheckImmunityTimeInSeconds     = "CHECK_IMMUNITY_TIME_IN_SECONDS"
	PropTransactionPreparedQueueOffset = "TRAN_PREPARED_QUEUE_OFFSET"
	PropTransactionID                  = "__transactionId__"
	PropTransactionCheckTimes          = "TRANSACTION_CHECK_TIMES"
	PropInstanceID                     = "INSTANCE_ID"
	PropCorrelationID                  = "CORRELATION_ID"
	PropMessageReplyToClient           = "REPLY_TO_CLIENT"
	PropMessageTTL                     = "TTL"
	PropReplyMessageArriveTime         = "ARRIVE_TIME"
	PropPushReplyTime                  = "PUSH_REPLY_TIME"
	PropCluster                        = "CLUSTER"
	PropMessageType                    = "MSG_TYPE"
	PropPopCK                          = "POP_CK"
	PropPopCKOffset                    = "POP_CK_OFFSET"
	PropFirstPopTime                   = "1ST_POP_TIME"
	PropShardingKey                    = "__SHARDINGKEY"
	PropLiteTopic                      = "__LITE_TOPIC"
	PropForwardQueueID                 = "PROPERTY_FORWARD_QUEUE_ID"
	PropRedirect                       = "REDIRECT"
	PropInnerMultiDispatch             = "INNER_MULTI_DISPATCH"
	PropInnerMultiQueueOffset          = "INNER_MULTI_QUEUE_OFFSET"
	PropTraceContext                   = "TRACE_CONTEXT"
	PropTimerDelaySec                  = "TIMER_DELAY_SEC"
	PropTimerDeliverMs                 = "TIMER_DELIVER_MS"
	PropBornHost                       = "__BORNHOST"
	PropBornTimestamp                  = "BORN_TIMESTAMP"
	PropTransientPrefix                = "__RMQ.TRANSIENT."
	PropTransientTopicConfig           = "__RMQ.TRANSIENT.TOPIC_SYS_FLAG"
	PropTransientGroupConfig           = "__RMQ.TRANSIENT.GROUP_SYS_FLAG"
	PropTimerEnqueueMs                 = "TIMER_ENQUEUE_MS"
	PropTimerDequeueMs                 = "TIMER_DEQUEUE_MS"
	PropTimerRollTimes                 = "TIMER_ROLL_TIMES"
	PropTimerOutMs                     = "TIMER_OUT_MS"
	PropTimerDelUniqkey                = "TIMER_DEL_UNIQKEY"
	PropTimerRollLabel                 = "TIMER_ROLL_LABEL"
	PropTimerDelayLevel                = "TIMER_DELAY_LEVEL"
	PropTimerDelayMs                   = "TIMER_DELAY_MS"
	PropCRC32                          = "__CRC32#"
	PropDLQOriginTopic                 = "DLQ_ORIGIN_TOPIC"
	PropDLQOriginMessageID             = "DLQ_ORIGIN_MESSAGE_ID"
)

// Reserved tells whether a client's user may not set a property of that name.
// Source: Java MessageConst.STRING_HASH_SET.
func Reserved(name string) bool {
	switch name {
	case PropKeys,
		PropTags,
		PropWaitStoreMsgOK,
		PropDelayTimeLevel,
		PropRetryTopic,
		PropOriginGroup,
		PropRealTopic,
		PropRealQueueID,
		PropTransactionPrepared,
		PropProducerGroup,
		PropMinOffset,
		PropMaxOffset,
		PropBuyerID,
		PropOriginMessageID,
		PropTransferFlag,
		PropCorrectionFlag,
		PropMQ2Flag,
		PropReconsumeTime,
		PropMsgRegion,
		PropTraceSwitch,
		PropUniqKey,
		PropExtendUniqInfo,
		PropMaxReconsumeTimes,
		PropConsumeStartTimestamp,
		PropPriority,
		PropDupInfo,
		PropTransactionPreparedQueueOffset,
		PropInstanceID,
		PropCorrelationID,
		PropMessageReplyToClient,
		PropMessageTTL,
		PropReplyMessageArriveTime,
		PropPushReplyTime,
		PropCluster,
		PropMessageType,
		PropPopCK,
		PropPopCKOffset,
		PropFirstPopTime,
		PropLiteTopic,
		PropInnerMultiQueueOffset,
		PropTimerDelaySec,
		PropTimerDeliverMs,
		PropBornHost,
		PropBornTimestamp,
		PropTimerEnqueueMs,
		PropTimerDequeueMs,
		PropTimerRollTimes,
		PropTimerOutMs,
		PropTimerDelUniqkey,
		PropTimerDelayLevel,
		PropTimerDelayMs,
		PropCRC32,
		PropDLQOriginTopic,
		PropDLQOriginMessageID:
		return true
	}
	return false
}
