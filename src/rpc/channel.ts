import type { ChannelOptions } from "@grpc/grpc-js";
import { windows } from "./windows.ts";

/**
 * What every client of ours asks of a channel: large windows, keepalive, no retries by the library (streams must not be
 * replayed; who may repeat a call decides that for itself), and a sub-channel of its own when `isShared` is false.
 */
export function channelOptions(options: { readonly isShared?: boolean } = {}): ChannelOptions {
  return {
    "grpc-node.flow_control_window": windows.streamBytes,
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.enable_retries": 0,
    "grpc.enable_channelz": 0,
    "grpc.max_receive_message_length": -1,
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 5_000,
    "grpc.use_local_subchannel_pool": options.isShared === false ? 1 : 0,
  };
}
