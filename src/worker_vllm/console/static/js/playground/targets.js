// The endpoints that can be asked: the queue's OpenAI routes, and a load balancer's where the endpoint has one.
import { json } from "../lib/api.js";
import { useEffect, useState } from "../lib/html.js";
import { live } from "../lib/live.js";
import { route } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { options } from "./session.js";

export function useTargets() {
  const endpoints = useStore(live, (state) => state.endpoints);
  const wanted = useStore(route, (value) => (value.page === "playground" ? value.parts[0] : undefined));
  const targets = endpoints.flatMap(targetsOf);
  useEffect(() => {
    const chosen = options.get().endpoint;
    const asked = wanted && `/v2/${encodeURIComponent(wanted)}/openai`;
    const ids = targets.map((target) => target.id);
    if (asked && ids.includes(asked) && chosen !== asked) options.patch({ endpoint: asked });
    else if (!ids.includes(chosen)) options.patch({ endpoint: best(targets) });
    if (options.get().rival && !ids.includes(options.get().rival)) options.patch({ rival: "" });
  }, [wanted, targets.map((target) => target.id).join()]);
  return targets;
}

function targetsOf({ name, queue, load_balancing: path, workers, vision }) {
  const found = queue === false ? [] : [{ id: `/v2/${encodeURIComponent(name)}/openai`, title: path ? `${name} (queue)` : name, ready: workers.ready, vision }];
  return path ? [...found, { id: path, title: `${name} (load balancer)`, ready: workers.ready, vision }] : found;
}

const best = (targets) => (targets.find((target) => target.ready) || targets[0])?.id || "";

// The model ids of the chosen endpoint, asked once it has a ready worker.
export function useModels(target) {
  const [models, setModels] = useState([]);
  const [problem, setProblem] = useState("");
  const ready = Boolean(target?.ready);
  useEffect(() => {
    setModels([]);
    if (!ready) return undefined;
    const controller = new AbortController();
    json(`${target.id}/v1/models`, { signal: controller.signal })
      .then(({ data }) => {
        const ids = data.map((model) => model.id);
        setModels(ids);
        setProblem("");
        if (!ids.includes(options.get().model)) options.patch({ model: ids[0] });
      })
      .catch((error) => error.name === "AbortError" || setProblem(error.message));
    return () => controller.abort();
  }, [target?.id, ready]);
  return [models, problem];
}
