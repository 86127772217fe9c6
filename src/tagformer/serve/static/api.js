// The server's answers as promises. Requests of one kind that are overtaken by a newer one are dropped.

import { toast } from "./dom.js";

export class Refused extends Error {}

async function request(path, options = {}) {
  let reply;
  try {
    reply = await fetch(`/page/${path}`, { headers: { "X-Tagformer": "page", ...options.headers }, ...options });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Refused("The server does not answer. Is it still running?");
  }
  if (reply.ok) return reply;
  const content = await reply.json().catch(() => ({}));
  throw new Refused(content.error ?? `The server answered ${reply.status}.`);
}

export const get = async (path, options) => (await request(path, options)).json();

export const getFile = async (path) => (await request(path)).blob();

export async function post(path, content = {}) {
  const isFile = content instanceof Blob;
  const reply = await request(path, {
    method: "POST",
    body: isFile ? content : JSON.stringify(content),
    headers: { "Content-Type": isFile ? content.type || "application/octet-stream" : "application/json" },
  });
  return reply.json();
}

/** A function that aborts its earlier call where that is still under way; an aborted call gives null. */
export function newestOnly(call) {
  let last = null;
  return async (...values) => {
    last?.abort();
    const mine = (last = new AbortController());
    try {
      return await call(...values, { signal: mine.signal });
    } catch (problem) {
      if (problem.name === "AbortError") return null;
      throw problem;
    }
  };
}

/** Run something; a refusal becomes a message, and the result is then undefined. */
export async function showingProblems(work) {
  try {
    return await work();
  } catch (problem) {
    if (!(problem instanceof Refused)) throw problem;
    toast(problem.message);
    return undefined;
  }
}

/** An id for a change, so that sending it twice changes nothing. */
export const requestId = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`;
