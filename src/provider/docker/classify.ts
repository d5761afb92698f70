import type { Blame, Failure } from "#job/failure.ts";
import { isUnsent, statusOf, wordsOf } from "./engine.ts";

/** Why an image cannot be had. */
export interface ImageTrouble {
  readonly reason:
    | "ImageNotFound"
    | "ImageDenied"
    | "InvalidImageName"
    | "ImageWrongPlatform"
    | "NoSpace"
    | "RegistryUnavailable";
  /** Whether trying again can help. */
  readonly canPass: boolean;
  readonly words: string;
}

/** The first that fits counts. */
const imageTroubles: readonly (readonly [ImageTrouble["reason"], boolean, RegExp])[] = [
  ["InvalidImageName", false, /invalid reference format|must be lowercase|invalid tag/i],
  ["NoSpace", true, /no space left/i],
  [
    "RegistryUnavailable",
    true,
    /too ?many ?requests|timeout|timed out|refused|no such host|dial tcp|lookup |x509|tls|\bEOF\b|reset by peer|unreachable|status: 5\d\d|50\d |temporar|unavailable/i,
  ],
  // "pull access denied for x, repository does not exist or may require 'docker login'" is said of both.
  ["ImageDenied", false, /denied|unauthorized|authentication required|no basic auth|forbidden/i],
  ["ImageWrongPlatform", false, /no matching manifest|platform/i],
  ["ImageNotFound", false, /not found|manifest unknown|does not exist|no such image/i],
];

/** What a pull of that image that failed says. */
export function imageTroubleOf(error: unknown, image: string): ImageTrouble {
  const words = wordsOf(error);
  // The image's own name must not decide.
  const said = words.replaceAll(image, "");
  const found = imageTroubles.find(([, , pattern]) => pattern.test(said));
  if (found !== undefined) return { reason: found[0], canPass: found[1], words };
  if (statusOf(error) === 404) return { reason: "ImageNotFound", canPass: false, words };
  return { reason: "RegistryUnavailable", canPass: true, words };
}

export interface ImageChoice {
  readonly image: string;
  /** Whether the job named it itself, so that what is wrong with it is the user's to mend. */
  readonly isOfJob: boolean;
}

export function imageFailure(
  { image, isOfJob }: ImageChoice,
  { reason, words }: ImageTrouble,
): Failure {
  const isOwn = reason !== "NoSpace" && reason !== "RegistryUnavailable";
  return {
    stage: "pulling",
    cause: "start_failed",
    blame: isOfJob && isOwn ? "user" : reason === "NoSpace" ? "node" : "provider",
    message: `${sentences[reason](image)}: ${words}`,
    userCodeMayHaveRun: false,
    evidence: { reason, image, message: words },
  };
}

const sentences: Readonly<Record<ImageTrouble["reason"], (image: string) => string>> = {
  ImageNotFound: (image) => `there is no image ${image}`,
  ImageDenied: (image) => `image ${image} does not exist, or its registry does not let us have it`,
  InvalidImageName: (image) => `${image} is no name of an image`,
  ImageWrongPlatform: (image) => `image ${image} is not made for this engine's platform`,
  NoSpace: (image) => `the engine has no space left for image ${image}`,
  RegistryUnavailable: (image) => `image ${image} cannot be pulled now`,
};

/** What it means that the engine refused a step of a start. */
export function startFailure(error: unknown, choice: ImageChoice): Failure {
  const words = wordsOf(error);
  const { reason, blame, message } = reasonOf(error, words, choice);
  const status = statusOf(error);
  return {
    stage: "creating",
    cause: "start_failed",
    blame,
    message: `${message}: ${words}`,
    userCodeMayHaveRun: false,
    evidence: {
      reason,
      image: choice.image,
      message: words,
      ...(status === 0 ? {} : { status: String(status) }),
    },
  };
}

/** The entry point or its interpreter is missing in the image. */
const unusable =
  /executable file not found|no such file or directory|exec format|permission denied/i;

function reasonOf(
  error: unknown,
  words: string,
  { image, isOfJob }: ImageChoice,
): { readonly reason: string; readonly blame: Blame; readonly message: string } {
  if (isUnsent(error)) {
    return { reason: "Unreachable", blame: "provider", message: "the engine cannot be reached" };
  }
  if (/could not select device driver|nvidia|gpu/i.test(words)) {
    return { reason: "NoGpu", blame: "provider", message: "the engine cannot give a GPU" };
  }
  if (/network .*not found|network/i.test(words)) {
    const message = "the container cannot be put on its network";
    return { reason: "Network", blame: "provider", message };
  }
  if (statusOf(error) !== 0 && unusable.test(words)) {
    const blame = isOfJob ? "user" : "provider";
    const message = `the agent cannot be started in image ${image}`;
    return { reason: "CannotRun", blame, message };
  }
  if (/no space left/i.test(words)) {
    return { reason: "NoSpace", blame: "node", message: "the engine has no space left" };
  }
  return { reason: "Refused", blame: "provider", message: "the engine refused the container" };
}
