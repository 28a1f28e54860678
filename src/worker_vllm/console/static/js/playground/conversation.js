// A conversation as a tree: an edit or a regeneration adds a branch beside the old one. Pure.
export const EMPTY = { nodes: {}, roots: [], chosen: {}, next: 1 };

const ROOT = "root";

const childrenOf = (tree, parent) => (parent === null ? tree.roots : tree.nodes[parent].children);

// Add a message below `parent` (null for the first) and show it. Returns [tree, id].
export function add(tree, parent, message) {
  const id = `m${tree.next}`;
  const nodes = { ...tree.nodes, [id]: { ...message, id, parent, children: [] } };
  const siblings = [...childrenOf(tree, parent), id];
  if (parent !== null) nodes[parent] = { ...nodes[parent], children: siblings };
  const roots = parent === null ? siblings : tree.roots;
  return [{ nodes, roots, chosen: { ...tree.chosen, [parent ?? ROOT]: id }, next: tree.next + 1 }, id];
}

export function update(tree, id, change) {
  const node = tree.nodes[id];
  if (!node) return tree;
  return { ...tree, nodes: { ...tree.nodes, [id]: { ...node, ...change(node) } } };
}

// The messages that are shown, from the first to the last of the chosen branch.
export function path(tree) {
  const found = [];
  let id = tree.chosen[ROOT];
  while (id) {
    found.push(tree.nodes[id]);
    id = tree.chosen[id];
  }
  return found;
}

export function branches(tree, id) {
  const siblings = childrenOf(tree, tree.nodes[id].parent);
  return { at: siblings.indexOf(id), of: siblings.length, siblings };
}

export function choose(tree, id, step) {
  const { at, siblings } = branches(tree, id);
  const other = siblings[at + step];
  if (!other) return tree;
  return { ...tree, chosen: { ...tree.chosen, [tree.nodes[id].parent ?? ROOT]: other } };
}
