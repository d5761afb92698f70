import { z } from "zod";
import { isTenantName, roles } from "#tenant/identity.ts";
import { flag, isHostName, json, list, text } from "./setting.ts";

/** Settings of TLS. */
export const tlsShape = {
  tlsAuto: flag(
    false,
    "Whether the server makes a certificate and its authority itself, in `tls` in the data directory; a file given below wins",
  ),
  tlsAutoNames: list(
    z.string().refine(isHostName, "is neither a DNS name nor an address"),
    "DNS names and addresses by which the server is dialled besides `HODEI_SERVER_ADDRESS` and this machine's own: `a.example.org, 192.0.2.1`",
  ),
  tlsCertFile: text("", "PEM file of the server's certificate; empty: plain text"),
  tlsKeyFile: text("", "PEM file of the server's key"),
  tlsCaFile: text(
    "",
    "PEM file of the authority that agents must find behind the server; empty: the certificate itself",
  ),
  tlsClientCaFile: text(
    "",
    "PEM file of the authority of clients' certificates; empty: none are asked for",
  ),
  tlsClientSubjects: json(
    z.record(
      z.string().min(1),
      z.strictObject({
        tenant: z.string().refine(isTenantName, "is not the name of a tenant"),
        role: z.enum(roles),
      }),
    ),
    {},
    'What clients with a certificate may do, by common name: `{"ci": {"tenant": "default", "role": "submitter"}}`',
  ),
  allowPlaintext: flag(false, "Whether plain text is allowed on other addresses than loopback"),
};
