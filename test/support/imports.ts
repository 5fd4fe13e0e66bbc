/** Reads which module imports which, from the sources, without running them. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import ts from "typescript";
import { projectRoot } from "../../shared/config/settings.ts";

export interface Import {
  /** As it is written. */
  readonly specifier: string;
  /** Path within the checkout for our own modules, undefined for packages. */
  readonly target: string | undefined;
  /** Gone at run time. */
  readonly typeOnly: boolean;
}

export interface Module {
  /** Within the checkout, with forward slashes: services/gateway/main.ts. */
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly Import[];
  /** Every `process.env` in it. */
  readonly readsEnvironment: boolean;
}

/** All TypeScript modules under the named top folders. */
export function readModules(...folders: readonly string[]): Module[] {
  return folders.flatMap((folder) =>
    readdirSync(join(projectRoot, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts"))
      .sort()
      .map((name) => readModule(`${folder}/${name.replaceAll("\\", "/")}`)),
  );
}

function readModule(path: string): Module {
  const file = join(projectRoot, path);
  const text = readFileSync(file, "utf8");
  return { path, lines: text.trimEnd().split("\n").length, ...readSource(text, (specifier) => targetOf(file, specifier)) };
}

function targetOf(file: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  return relative(projectRoot, resolve(dirname(file), specifier)).replaceAll("\\", "/");
}

export function readSource(text: string, resolveTarget: (specifier: string) => string | undefined): Pick<Module, "imports" | "readsEnvironment"> {
  const imports: Import[] = [];
  let readsEnvironment = false;
  const add = (specifier: string, typeOnly: boolean) => imports.push({ specifier, target: resolveTarget(specifier), typeOnly });
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) add(node.moduleSpecifier.text, isTypeOnlyImport(node));
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined && ts.isStringLiteral(node.moduleSpecifier)) add(node.moduleSpecifier.text, node.isTypeOnly);
    else if (ts.isCallExpression(node) && importsByCall(node)) {
      const [argument] = node.arguments;
      // A computed specifier can't be checked, so it is shown as it is written and meets no rule that allows it.
      add(argument !== undefined && ts.isStringLiteralLike(argument) ? argument.text : (argument?.getText() ?? ""), false);
    } else if (ts.isPropertyAccessExpression(node) && node.name.text === "env" && ts.isIdentifier(node.expression) && node.expression.text === "process") readsEnvironment = true;
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile("module.ts", text, ts.ScriptTarget.ES2022, true));
  return { imports, readsEnvironment };
}

/** `import type {…}`, or one whose every name says `type`. */
function isTypeOnlyImport({ importClause }: ts.ImportDeclaration): boolean {
  if (importClause === undefined) return false; // for its effects
  if (importClause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  const { name, namedBindings } = importClause;
  return name === undefined && namedBindings !== undefined && ts.isNamedImports(namedBindings) && namedBindings.elements.length > 0 && namedBindings.elements.every((element) => element.isTypeOnly);
}

function importsByCall(node: ts.CallExpression): boolean {
  if (node.expression.kind === ts.SyntaxKind.ImportKeyword) return true;
  return ts.isIdentifier(node.expression) && (node.expression.text === "require" || node.expression.text === "createRequire");
}

/** One cycle among value imports, as a list of paths that ends where it began; undefined when there is none. */
export function findCycle(modules: readonly Pick<Module, "path" | "imports">[]): string[] | undefined {
  const edges = new Map(modules.map(({ path, imports }) => [path, imports.flatMap(({ target, typeOnly }) => (target === undefined || typeOnly ? [] : [target]))]));
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): string[] | undefined => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path)) return undefined;
    for (const next of edges.get(path) ?? []) {
      const cycle = walk(next, [...trail, path]);
      if (cycle !== undefined) return cycle;
    }
    done.add(path);
    return undefined;
  };
  for (const { path } of modules) {
    const cycle = walk(path, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}
