// A prompt with choices, as it is built: sd-dynamic-prompts' grammar (the package dynamicprompts, parser/parse.py) without
// its variables. `{a|b}` is one of them, `{2$$a|b}` or `{1-2$$ and $$a|b}` so many of them and what joins them, `{0.5::a|b}`
// weighs them, `__name__` is a line of the list of that name. A comment has none, and `\{`, `\|` and `\}` are text.

/**
 * @typedef {string | Group | Listed} Node   a string is text
 *
 * @typedef {object} Group
 * @property {"group"} kind
 * @property {number} from      where it stands in the prompt
 * @property {number} to
 * @property {number} least     how many are taken
 * @property {number} most
 * @property {string} joiner
 * @property {{weight: number, nodes: Node[]}[]} options
 *
 * @typedef {object} Listed
 * @property {"list"} kind
 * @property {number} from
 * @property {number} to
 * @property {string} name
 * @property {string} written
 */

const COUNT = /\s*(?:(\d+)-(\d+)|(\d+)-|-(\d+)|(\d+))\$\$(?:([^${}]*)\$\$)?/y;
const WEIGHT = /\s*(?:(\d+\.?\d*|\.\d+)::\s*)?/y;
const LIST = /__(?!_)([^\n(){}#$|<>]+?)__/y;
/** Up to what may begin something, or end an option. */
const PLAIN = /[^\\#{}|_]+|_(?!_)/y;
const COMMENT = /#[^\n]*/y;

class Reader {
  #text;
  #at = 0;
  #unclosed;

  /** @param {string} text */
  constructor(text) {
    this.#text = text;
    this.#unclosed = unclosed(text);
  }

  get open() { return this.#unclosed.size > 0; }

  /** @returns {Node[]} */
  whole() {
    return this.#nodes(false);
  }

  /** @param {boolean} inside   a group, where `|` and `}` end an option @returns {Node[]} */
  #nodes(inside) {
    /** @type {Node[]} */
    const nodes = [];
    let text = "";
    const add = (node) => {
      if (text) nodes.push(text);
      text = "";
      nodes.push(node);
    };
    while (this.#at < this.#text.length) {
      const sign = this.#text[this.#at];
      if (inside && (sign === "|" || sign === "}")) break;
      const node = sign === "{" ? this.#group() : sign === "_" ? this.#list() : null;
      if (node) add(node);
      else text += this.#take(sign === "#" ? COMMENT : PLAIN)?.[0] ?? this.#signs(sign === "\\" ? 2 : 1);
    }
    if (text) nodes.push(text);
    return nodes;
  }

  /** @returns {?Group} null: the brace isn't closed, and is text */
  #group() {
    const from = this.#at;
    if (this.#unclosed.has(from)) return null;
    this.#at += 1;
    const count = this.#take(COUNT);
    const options = [];
    do {
      const [, weight] = this.#take(WEIGHT) ?? [];
      options.push({ weight: Number(weight ?? 1), nodes: this.#nodes(true) });
    } while (this.#text[this.#at] === "|" && (this.#at += 1));
    this.#at += 1;
    return { kind: "group", from, to: this.#at, ...bounds(count), options };
  }

  /** @returns {?Listed} */
  #list() {
    const from = this.#at;
    const [written, name] = this.#take(LIST) ?? [];
    return written ? { kind: "list", from, to: this.#at, name: name.trim(), written } : null;
  }

  /** @param {RegExp} pattern */
  #take(pattern) {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found) this.#at = pattern.lastIndex;
    return found;
  }

  #signs(count) {
    const signs = this.#text.slice(this.#at, this.#at + count);
    this.#at += count;
    return signs;
  }
}

/** Where braces begin that end nowhere. @param {string} text @returns {Set<number>} */
function unclosed(text) {
  const begun = [];
  for (const { 0: sign, index } of text.matchAll(/\\[^]|#[^\n]*|[{}]/g)) {
    if (sign === "{") begun.push(index);
    else if (sign === "}") begun.pop();
  }
  return new Set(begun);
}

/** @param {?RegExpExecArray} count */
function bounds(count) {
  if (!count) return { least: 1, most: 1, joiner: "," };
  const [, low, high, from, upTo, exactly, joiner = ","] = count;
  const least = Number(low ?? from ?? exactly ?? 1);
  const most = Number(high ?? upTo ?? exactly ?? Infinity);
  return { least: Math.min(least, most), most: Math.max(least, most), joiner };
}

/** @param {string} text @returns {{nodes: Node[], open: boolean}} */
export function readTemplate(text) {
  const reader = new Reader(text);
  return { nodes: reader.whole(), open: reader.open };
}
