/**
 * A JSON schema as what can be written: types, properties, required, enum, const, items, minItems, maxItems, anyOf and references within the schema. Every
 * other keyword that would restrict an answer is refused by name, because to leave it out would give answers that break it. What is written is narrower than what a
 * schema allows: an object's listed properties only, in their order.
 */
import { EverloraError } from "../../errors/errors.ts";

export type Node =
  | { readonly kind: "any" | "string" }
  | { readonly kind: "number"; readonly integer: boolean }
  | { readonly kind: "literal"; readonly bytes: Uint8Array }
  | { readonly kind: "options"; readonly options: readonly Node[] }
  | { readonly kind: "array"; readonly items: Node; readonly least: number; readonly most: number }
  /** With `extra`, any names with such values; without, the listed ones in order. */
  | { readonly kind: "object"; readonly properties: readonly Property[]; readonly extra: Node | null }
  | { readonly kind: "reference"; readonly resolve: () => Node };

export interface Property {
  /** The name as it is written, quotes included. */
  readonly name: Uint8Array;
  readonly value: Node;
  readonly required: boolean;
}

type Schema = Readonly<Record<string, unknown>>;

export const anyValue: Node = { kind: "any" };
export const anyObject: Node = { kind: "object", properties: [], extra: anyValue };

/** They say something to people, and restrict nothing. */
const annotations = new Set(["$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"]);
const ofObjects = ["properties", "required", "additionalProperties"];
const ofArrays = ["items", "minItems", "maxItems"];
const types = ["object", "array", "string", "number", "integer", "boolean", "null"];
/** A schema may refer to itself; one that is larger than this was not written for a model. */
const mostNodes = 10_000;

/** @throws EverloraError invalid_request that names the keyword and where it stands */
export function compileSchema(schema: unknown): Node {
  const compiler = new Compiler(schema);
  const root = compiler.node(schema, "schema");
  compiler.checkReferences();
  return root;
}

class Compiler {
  readonly #root: unknown;
  readonly #references = new Map<string, Node>();
  #nodes = 0;

  constructor(root: unknown) {
    this.#root = root;
  }

  node(schema: unknown, path: string): Node {
    if (++this.#nodes > mostNodes) throw refused(path, `the schema has more than ${mostNodes} parts`);
    if (schema === true) return anyValue;
    if (!isRecord(schema)) throw refused(path, schema === false ? "false allows no value" : "a schema is an object");
    const keywords = Object.keys(schema).filter((keyword) => !annotations.has(keyword));
    const only = (allowed: readonly string[], beside: string) => {
      const other = keywords.find((keyword) => !allowed.includes(keyword));
      if (other !== undefined) throw refused(path, `the keyword ${JSON.stringify(other)} is not supported${beside}`);
    };
    if (keywords.includes("$ref")) {
      only(["$ref"], " beside $ref");
      return this.#reference(schema["$ref"], path);
    }
    if (keywords.includes("anyOf")) {
      only(["anyOf"], " beside anyOf");
      const options = schema["anyOf"];
      if (!Array.isArray(options) || options.length === 0) throw refused(path, "anyOf must be a list of schemas");
      return { kind: "options", options: options.map((option, at) => this.node(option, `${path}.anyOf.${at}`)) };
    }
    if (keywords.includes("enum") || keywords.includes("const")) {
      only(["enum", "const", "type"], " beside enum or const");
      return literals(schema, path);
    }
    only(["type", ...ofObjects, ...ofArrays], "");
    const named = typesOf(schema, path);
    if (named.length === 0) return anyValue;
    for (const [list, type] of [[ofObjects, "object"], [ofArrays, "array"]] as const) {
      const stray = list.find((keyword) => schema[keyword] !== undefined && !named.includes(type));
      if (stray !== undefined) throw refused(path, `${JSON.stringify(stray)} belongs to the type ${type}`);
    }
    const options = named.map((type) => this.#typed(type, schema, path));
    return options.length === 1 && options[0] !== undefined ? options[0] : { kind: "options", options };
  }

  /** A value that begins with itself never begins. */
  checkReferences(): void {
    const beginsWith = (node: Node, seen: ReadonlySet<Node>): boolean => {
      if (node.kind === "options") return node.options.some((option) => beginsWith(option, seen));
      return node.kind === "reference" && (seen.has(node) || beginsWith(node.resolve(), new Set([...seen, node])));
    };
    for (const [pointer, reference] of this.#references) if (beginsWith(reference, new Set())) throw refused(pointer, `$ref ${JSON.stringify(pointer)} leads to itself`);
  }

  #typed(type: string, schema: Schema, path: string): Node {
    switch (type) {
      case "object":
        return this.#object(schema, path);
      case "array":
        return this.#array(schema, path);
      case "string":
        return { kind: "string" };
      case "number":
      case "integer":
        return { kind: "number", integer: type === "integer" };
      case "boolean":
        return { kind: "options", options: [literal(true), literal(false)] };
      default:
        return literal(null);
    }
  }

  #object(schema: Schema, path: string): Node {
    const { properties, required = [], additionalProperties = true } = schema;
    if (properties !== undefined && !isRecord(properties)) throw refused(path, "properties must be an object of schemas");
    if (!Array.isArray(required) || required.some((name) => typeof name !== "string")) throw refused(path, "required must be a list of names");
    const wanted = new Set(required as string[]);
    // Something of the listed names, or what is required besides; otherwise whatever is allowed.
    const extra = properties === undefined && wanted.size === 0 && additionalProperties !== false ? this.node(additionalProperties, `${path}.additionalProperties`) : null;
    const listed = Object.entries(properties ?? {}).map(([name, value]): Property => ({ name: quoted(name), value: this.node(value, `${path}.properties.${name}`), required: wanted.delete(name) }));
    const [unlisted] = wanted;
    if (unlisted !== undefined && additionalProperties === false) throw refused(path, `${JSON.stringify(unlisted)} is required and not allowed: properties lacks it`);
    const besides = [...wanted].map((name): Property => ({ name: quoted(name), value: this.node(additionalProperties, `${path}.additionalProperties`), required: true }));
    return { kind: "object", properties: [...listed, ...besides], extra };
  }

  #array(schema: Schema, path: string): Node {
    const { items = true, minItems = 0, maxItems = Infinity } = schema;
    const isCount = (value: unknown): value is number => value === Infinity || (typeof value === "number" && Number.isInteger(value) && value >= 0);
    if (!isCount(minItems) || !isCount(maxItems) || minItems > maxItems) throw refused(path, "minItems and maxItems must be counts, in order");
    return { kind: "array", items: this.node(items, `${path}.items`), least: minItems, most: maxItems };
  }

  /** Resolved when it is needed: a schema may hold itself. */
  #reference(pointer: unknown, path: string): Node {
    if (typeof pointer !== "string" || !pointer.startsWith("#")) throw refused(path, `$ref ${JSON.stringify(pointer)} leads out of the schema`);
    const known = this.#references.get(pointer);
    if (known !== undefined) return known;
    const target: { node?: Node } = {};
    const reference: Node = { kind: "reference", resolve: () => target.node ?? anyValue };
    this.#references.set(pointer, reference);
    const steps = pointer.split("/").slice(1).map((part) => decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~"));
    const found = steps.reduce<unknown>((at, step) => ((isRecord(at) || Array.isArray(at)) && Object.hasOwn(at, step) ? (at as Schema)[step] : undefined), this.#root);
    if (found === undefined) throw refused(path, `$ref ${JSON.stringify(pointer)} leads nowhere`);
    target.node = this.node(found, pointer);
    return reference;
  }
}

function typesOf(schema: Schema, path: string): string[] {
  const { type } = schema;
  if (type === undefined) return ofObjects.some((keyword) => schema[keyword] !== undefined) ? ["object"] : ofArrays.some((keyword) => schema[keyword] !== undefined) ? ["array"] : [];
  const named: unknown[] = Array.isArray(type) ? type : [type];
  const unknown = named.find((name) => typeof name !== "string" || !types.includes(name));
  if (unknown !== undefined || named.length === 0) throw refused(path, `the type ${JSON.stringify(unknown)} is not one of ${types.join(", ")}`);
  return named as string[];
}

function literals(schema: Schema, path: string): Node {
  const listed: unknown = schema["const"] === undefined && !Object.hasOwn(schema, "const") ? schema["enum"] : [schema["const"]];
  if (!Array.isArray(listed)) throw refused(path, "enum must be a list of values");
  const named = typesOf(schema, path);
  const fitting = listed.filter((value) => named.length === 0 || named.some((type) => isOfType(value, type)));
  if (fitting.length === 0) throw refused(path, "no value of enum or const has the type");
  return { kind: "options", options: fitting.map(literal) };
}

function isOfType(value: unknown, type: string): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return isRecord(value);
  if (type === "integer") return Number.isInteger(value);
  return typeof value === type;
}

const literal = (value: unknown): Node => ({ kind: "literal", bytes: quoted(value) });
const quoted = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const isRecord = (value: unknown): value is Schema => typeof value === "object" && value !== null && !Array.isArray(value);
const refused = (path: string, fault: string) => new EverloraError("invalid_request", `response_format: ${path}: ${fault}.`, { param: "response_format", hint: "docs/serving.md says which keywords constrained decoding keeps to." });
