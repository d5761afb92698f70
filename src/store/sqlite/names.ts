import type { DatabaseSync, StatementSync } from "node:sqlite";

/** Tenants, classes and providers as numbers, so that a job's row stays narrow. */
export class Names {
  readonly #insert: StatementSync;
  readonly #select: StatementSync;
  readonly #numbers = new Map<string, number>();
  readonly #texts = new Map<number, string>();

  constructor(db: DatabaseSync) {
    this.#insert = db.prepare("INSERT INTO names (kind, text) VALUES (?, ?) RETURNING id");
    this.#select = db.prepare("SELECT id, kind, text FROM names");
    this.load();
  }

  /** Reads the table again. */
  load(): void {
    this.#numbers.clear();
    this.#texts.clear();
    for (const row of this.#select.all()) {
      this.#keep(Number(row["id"]), String(row["kind"]), String(row["text"]));
    }
  }

  textOf(number: number): string {
    const text = this.#texts.get(number);
    if (text === undefined) throw new Error(`the store has no name with the number ${number}`);
    return text;
  }

  findNumber(kind: NameKind, text: string): number | undefined {
    return this.#numbers.get(`${kind}/${text}`);
  }

  /** Gives the text a number if it has none. */
  numberOf(kind: NameKind, text: string): number {
    const known = this.findNumber(kind, text);
    if (known !== undefined) return known;
    const id = Number(this.#insert.get(kind, text)?.["id"]);
    this.#keep(id, kind, text);
    return id;
  }

  #keep(id: number, kind: string, text: string): void {
    this.#numbers.set(`${kind}/${text}`, id);
    this.#texts.set(id, text);
  }
}

export type NameKind = "tenant" | "class" | "provider";
