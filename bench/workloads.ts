// The workloads by name: what a load does, what it needs of a broker, and which of its settings the command line may
// change. A workload that is new is one entry here.

import type { LoadJob } from './load.ts';

export interface Settings {
  pairs: number;
  /** Subscribers of the fan-out, publishers of the fan-in. */
  fan: number;
  payloadBytes: number;
  /** 0: the workload's own. */
  window: number;
  ratePerSecond: number | undefined;
  /** Messages that wait for each session of the resume. */
  queued: number;
}

export interface Workload {
  title: string;
  qos: 0 | 1 | 2;
  window: number;
  nodes: number;
  isDurable: boolean;
  isClean: boolean;
  shape: 'pairs' | 'fan-out' | 'fan-in';
  /** Subscribers are away while the messages are stored. */
  isResume: boolean;
}

const pairs: Workload = {
  title: 'pairs, QoS 0, clean sessions, one node',
  qos: 0,
  window: 256,
  nodes: 1,
  isDurable: false,
  isClean: true,
  shape: 'pairs',
  isResume: false,
};

export const WORKLOADS = new Map<string, Workload>([
  ['pairs-qos0', pairs],
  ['pairs-qos1', { ...pairs, title: 'pairs, QoS 1, clean sessions, one node', qos: 1, window: 32 }],
  ['pairs-qos2', { ...pairs, title: 'pairs, QoS 2, clean sessions, one node', qos: 2, window: 32 }],
  [
    'pairs-persistent',
    {
      ...pairs,
      title: 'pairs, QoS 1, persistent sessions, publishers on node 1, subscribers on node 2',
      qos: 1,
      window: 32,
      nodes: 2,
      isDurable: true,
      isClean: false,
    },
  ],
  ['fan-out', { ...pairs, title: 'one publisher to many subscribers, QoS 0', shape: 'fan-out', window: 32 }],
  [
    'fan-in',
    { ...pairs, title: 'many publishers to one subscriber, QoS 1', shape: 'fan-in', qos: 1, window: 32 },
  ],
  [
    'resume',
    {
      ...pairs,
      title: 'QoS 1 messages stored for absent sessions, which then come back on the other node',
      qos: 1,
      window: 100,
      nodes: 2,
      isDurable: true,
      isClean: false,
      isResume: true,
    },
  ],
]);

/** The jobs of `generators` processes for one round. Only pairs can be divided. */
export function jobsOf(
  workload: Workload,
  settings: Settings,
  ports: number[],
  generators: number,
): LoadJob[] {
  const processes = workload.shape === 'pairs' ? Math.min(generators, settings.pairs) : 1;
  return Array.from({ length: processes }, (_, index) => {
    const name = `bench${index}`;
    const share = Math.floor((settings.pairs + index) / processes);
    const { topics, filters, copies } = shapeOf(workload.shape, name, share, settings.fan);
    return {
      name,
      topics,
      filters,
      copies,
      publisherPorts: ports.slice(0, 1),
      subscriberPorts: workload.isResume ? [...ports].reverse() : ports.slice(-1),
      qos: workload.qos,
      window: settings.window || workload.window,
      payloadBytes: settings.payloadBytes,
      isClean: workload.isClean,
      ...(settings.ratePerSecond === undefined ? {} : { ratePerSecond: settings.ratePerSecond / processes }),
    };
  });
}

function shapeOf(shape: Workload['shape'], name: string, pairs: number, fan: number) {
  const numbered = (count: number) => Array.from({ length: count }, (_, index) => `b/${name}/${index}`);
  if (shape === 'pairs') return { topics: numbered(pairs), filters: numbered(pairs), copies: 1 };
  if (shape === 'fan-in') return { topics: numbered(fan), filters: [`b/${name}/#`], copies: 1 };
  return { topics: [`b/${name}`], filters: new Array<string>(fan).fill(`b/${name}`), copies: fan };
}
