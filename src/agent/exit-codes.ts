/**
 * What the agent's process ends with. 0: it left on purpose, or was asked to. 64: its settings are wrong, or it cannot work here. 69: the server was not
 * reached within the tolerance. 77: the server refused it.
 */
export const exitCodes = {
  left: 0,
  stopped: 0,
  unusable: 64,
  unreachable: 69,
  refused: 77,
} as const;
