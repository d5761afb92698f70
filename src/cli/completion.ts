import type { Command } from "commander";
import { write } from "./console.ts";
import { exits, UsageError } from "./exit.ts";
import type { Call } from "./program.ts";

/** The words that may follow each verb: further verbs and flags. */
type Words = ReadonlyMap<string, readonly string[]>;

/** Prints a script that completes verbs and flags, made from the tree of verbs. */
export function completionVerb(program: Command): (call: Call) => Promise<number> {
  return async ({ host, args }) => {
    const words = wordsOf(program);
    await write(host.stdout, scriptFor(args[0], words));
    return exits.done;
  };
}

function wordsOf(program: Command): Words {
  const words = new Map<string, readonly string[]>();
  const visit = (command: Command, path: string): void => {
    const flags = command.options.flatMap(({ long }) => long ?? []);
    const verbs = command.commands.map((child) => child.name());
    words.set(path, [...verbs, ...flags, "--help"]);
    for (const child of command.commands) visit(child, `${path} ${child.name()}`.trim());
  };
  visit(program, "");
  return words;
}

function scriptFor(shell: string | undefined, words: Words): string {
  switch (shell) {
    case "bash":
      return bashScript(words);
    case "zsh":
      return `#compdef hodei\nautoload -U +X bashcompinit && bashcompinit\n${bashScript(words)}`;
    case "fish":
      return fishScript(words);
    default:
      throw new UsageError(`completion: ${JSON.stringify(shell)} is none of bash, zsh, fish`);
  }
}

function bashScript(words: Words): string {
  const verbs = [...words.keys()].filter((path) => path !== "");
  const cases = [...words].map(([path, next]) => `    "${path}") words="${next.join(" ")}" ;;`);
  return `_hodei() {
  local current="\${COMP_WORDS[COMP_CWORD]}" path="" word words=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [ "$word" = "--" ] && { COMPREPLY=(); return; }
    case "\${path:+$path }$word" in
      ${verbs.map((path) => `"${path}"`).join(" | ")}) path="\${path:+$path }$word" ;;
    esac
  done
  case "$path" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _hodei hodei
`;
}

function fishScript(words: Words): string {
  const lines = [...words].map(([path, next]) => {
    const test = path === "" ? "__hodei_at ''" : `__hodei_at '${path}'`;
    return `complete -c hodei -n "${test}" -a "${next.join(" ")}"`;
  });
  return `function __hodei_at
    set -l words (string match -v -- '-*' (commandline -opc)[2..-1])
    test (string join ' ' -- $words) = "$argv[1]"
end
complete -c hodei -f
${lines.join("\n")}
`;
}
