import { bodyOf, readStrictly } from "./body.ts";
import { isJson } from "./field-set.ts";
import type { Objects } from "./objects.ts";
import { isAllowed, isPathAllowed, rulesOf } from "./rbac.ts";
import type { ApiRequest, User } from "./request.ts";
import { ApiError, badRequest, cause, pathNotFound } from "./status.ts";
import type { Tokens } from "./tokens.ts";
import type { Answer } from "./verbs.ts";

interface ReviewSpec {
  readonly token?: string;
  readonly audiences?: readonly string[];
  readonly resourceAttributes?: {
    readonly namespace?: string;
    readonly verb?: string;
    readonly group?: string;
    readonly resource?: string;
    readonly subresource?: string;
    readonly name?: string;
  };
  readonly nonResourceAttributes?: { readonly path?: string };
  readonly namespace?: string;
  readonly user?: string;
  readonly groups?: readonly string[];
}

export const reviews: ReadonlySet<string> = new Set([
  "tokenreviews",
  "selfsubjectaccessreviews",
  "subjectaccessreviews",
  "localsubjectaccessreviews",
  "selfsubjectrulesreviews",
  "selfsubjectreviews",
]);

const kinds: Readonly<Record<string, string>> = {
  tokenreviews: "TokenReview",
  selfsubjectaccessreviews: "SelfSubjectAccessReview",
  subjectaccessreviews: "SubjectAccessReview",
  localsubjectaccessreviews: "LocalSubjectAccessReview",
  selfsubjectrulesreviews: "SelfSubjectRulesReview",
  selfsubjectreviews: "SelfSubjectReview",
};

/** Reviews are created and answered, never stored. */
export function review(objects: Objects, tokens: Tokens, request: ApiRequest): Answer {
  const { plural, group, version } = request.target;
  const kind = kinds[plural];
  if (kind === undefined) throw pathNotFound();
  const body = bodyOf(request, kind);
  const { value } = readStrictly(body, `V1${kind}`, {
    request,
    refuse: (why) =>
      badRequest(`${kind} in version "${version}" cannot be handled as a ${kind}: ${why}`),
  });
  const spec: ReviewSpec = isJson(value["spec"]) ? value["spec"] : {};
  refuseEmpty(plural, spec);
  return {
    code: 201,
    body: {
      kind,
      apiVersion: `${group}/${version}`,
      metadata: {},
      ...(value["spec"] === undefined ? {} : { spec: value["spec"] }),
      status: statusOf(plural, spec, { objects, tokens, user: request.user }),
    },
  };
}

function refuseEmpty(plural: string, spec: ReviewSpec): void {
  if (plural === "tokenreviews" && (spec.token ?? "") === "") {
    throw badRequest("token is required for TokenReview in authentication");
  }
  const isEmpty = spec.resourceAttributes === undefined && spec.nonResourceAttributes === undefined;
  if (!plural.endsWith("accessreviews") || !isEmpty) return;
  const problem = cause.invalid(
    "spec.resourceAttributes",
    null,
    "exactly one of nonResourceAttributes or resourceAttributes must be specified",
  );
  throw new ApiError(422, {
    reason: "Invalid",
    message: `.authorization.k8s.io "" is invalid: ${problem.field}: ${problem.message}`,
    details: { group: "authorization.k8s.io", causes: [problem] },
  });
}

function statusOf(
  plural: string,
  spec: ReviewSpec,
  { objects, tokens, user }: { objects: Objects; tokens: Tokens; user: User },
): object {
  if (plural === "tokenreviews") {
    const answer = tokens.review(spec.token ?? "", spec.audiences ?? []);
    if ("error" in answer) return { user: {}, error: answer.error };
    const { name, ...rest } = answer.user;
    const audiences = answer.audiences.length === 0 ? {} : { audiences: answer.audiences };
    return { authenticated: true, user: { username: name, ...rest }, ...audiences };
  }
  if (plural === "selfsubjectreviews") {
    return { userInfo: { username: user.name, groups: user.groups } };
  }
  if (plural === "selfsubjectrulesreviews") {
    const rules = rulesOf(objects, user, spec.namespace ?? "default");
    return {
      resourceRules: rules.filter((rule) => rule.nonResourceURLs === undefined),
      nonResourceRules: rules.filter((rule) => rule.nonResourceURLs !== undefined),
      incomplete: false,
    };
  }
  const whose = plural.startsWith("self")
    ? user
    : { name: spec.user ?? "", groups: spec.groups ?? [] };
  return { allowed: allows(objects, whose, spec) };
}

function allows(objects: Objects, user: User, spec: ReviewSpec): boolean {
  const asked = spec.resourceAttributes;
  if (asked === undefined)
    return isPathAllowed(objects, user, spec.nonResourceAttributes?.path ?? "");
  const {
    verb = "",
    group = "",
    resource = "",
    subresource = "",
    namespace = "",
    name = "",
  } = asked;
  const full = subresource === "" ? resource : `${resource}/${subresource}`;
  return isAllowed(objects, user, { verb, group, resource: full, namespace, name });
}
