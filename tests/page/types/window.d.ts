// What the type check knows of the page beyond the DOM library.

interface ParentNode {
  querySelector<K extends keyof HTMLElementTagNameMap>(selectors: K): HTMLElementTagNameMap[K];
}

interface HTMLElementTagNameMap {
  "lorakeet-two-up": import("../../../web/ui/lorakeet-two-up.js").LorakeetTwoUp;
}

// The DOM makes strings of what these are given.

interface Element {
  setAttribute(name: string, value: string | number | boolean): void;
}

interface CSSStyleDeclaration {
  setProperty(property: string, value: string | number): void;
}

/** The page's own classes tell by events of type CustomEvent. */
interface EventTarget {
  addEventListener(type: string, listener: (event: CustomEvent) => void, options?: AddEventListenerOptions): void;
}
