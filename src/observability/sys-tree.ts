// The $SYS/broker topics with the names, units and load averages that mosquitto gives them, over all nodes of the
// cluster. Pure: it is given the numbers of every node and returns the topics whose value has changed; who publishes
// them is not its business. A node that restarts counts from zero again, so a total of the cluster may fall; rates
// never do.

import { type NodeStats, SessionHappening } from './node-stats.ts';
import { VERSION } from './version.ts';

/** What one node tells the others of itself; crosses processes as JSON. */
export interface SysReport {
  readonly messagesReceived: number;
  readonly messagesSent: number;
  readonly publishReceived: number;
  readonly publishSent: number;
  readonly publishDropped: number;
  readonly publishBytesReceived: number;
  readonly publishBytesSent: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly socketsOpened: number;
  readonly connectsReceived: number;
  readonly connections: number;
  readonly clientsConnected: number;
  readonly clientsConnectedMax: number;
  readonly clientsExpired: number;
  /** Those that are not among SysTotals. */
  readonly subscriptions: number;
  readonly heapBytes: number;
  readonly heapBytesMax: number;
}

/** What is counted once for the whole cluster. */
export interface SysTotals {
  readonly sessions: number;
  readonly retainedMessages: number;
  readonly queuedMessages: number;
  readonly queuedBytes: number;
  /** Of sessions that outlive their connections, the shared ones apart. */
  readonly subscriptions: number;
  readonly sharedSubscriptions: number;
}

export interface SysTopic {
  readonly topic: string;
  readonly value: string;
}

const PUBLISH = 3;
const CONNECT = 1;
const sum = (values: Iterable<number>): number => {
  let total = 0;
  for (const value of values) total += value;
  return total;
};

/** The report of one node. `heapBytesMax` is the highest heap it has seen. */
export function sysReport(stats: NodeStats, heapBytes: number, heapBytesMax: number): SysReport {
  return {
    messagesReceived: sum(stats.packetsReceived),
    messagesSent: sum(stats.packetsSent),
    publishReceived: stats.packetsReceived[PUBLISH] as number,
    publishSent: stats.packetsSent[PUBLISH] as number,
    publishDropped: sum(stats.messagesDropped),
    publishBytesReceived: stats.publishBytesReceived,
    publishBytesSent: stats.publishBytesSent,
    bytesReceived: stats.bytesReceived,
    bytesSent: stats.bytesSent,
    socketsOpened: stats.connectionsOpened,
    connectsReceived: stats.packetsReceived[CONNECT] as number,
    connections: sum(stats.connections.values()),
    clientsConnected: stats.sessionsConnected,
    clientsConnectedMax: stats.sessionsConnectedMax,
    clientsExpired: stats.sessionEvents[SessionHappening.EXPIRED] as number,
    subscriptions: stats.liveSubscriptions,
    heapBytes,
    heapBytesMax,
  };
}

/** The reports of all nodes as one. */
export function sumReports(reports: readonly SysReport[]): SysReport {
  const totals: Record<string, number> = {};
  for (const report of reports) {
    for (const [name, value] of Object.entries(report)) totals[name] = (totals[name] ?? 0) + value;
  }
  return totals as unknown as SysReport;
}

const LOADS: readonly (readonly [topic: string, field: keyof SysReport])[] = [
  ['messages/received', 'messagesReceived'],
  ['messages/sent', 'messagesSent'],
  ['publish/received', 'publishReceived'],
  ['publish/sent', 'publishSent'],
  ['publish/dropped', 'publishDropped'],
  ['bytes/received', 'bytesReceived'],
  ['bytes/sent', 'bytesSent'],
  ['sockets', 'socketsOpened'],
  ['connections', 'connectsReceived'],
];

const PERIODS = [
  ['1min', 60],
  ['5min', 300],
  ['15min', 900],
] as const;

/** Remembers what was published last, and the load averages. */
export class SysTree {
  readonly #startedMs: number;
  readonly #published = new Map<string, string>();
  readonly #loads = new Map<string, number>();
  #previous: { atMs: number; report: SysReport } | undefined;
  #clientsMax = 0;

  /** Times are those of a monotonic clock. */
  constructor(nowMs: number) {
    this.#startedMs = nowMs;
  }

  /** Topics that are new or changed since the last call; `report` is the sum over all live nodes. */
  update(report: SysReport, totals: SysTotals, nowMs: number): SysTopic[] {
    const values: (readonly [string, string])[] = [...this.#plainTopics(report, totals, nowMs)];
    values.push(...this.#loadTopics(report, nowMs));
    this.#previous = { atMs: nowMs, report };
    const changed: SysTopic[] = [];
    for (const [name, value] of values) {
      if (this.#published.get(name) === value) continue;
      this.#published.set(name, value);
      changed.push({ topic: `$SYS/broker/${name}`, value });
    }
    return changed;
  }

  #plainTopics(report: SysReport, totals: SysTotals, nowMs: number): [string, string][] {
    const disconnected = Math.max(0, totals.sessions - report.clientsConnected);
    this.#clientsMax = Math.max(this.#clientsMax, report.clientsConnectedMax, report.clientsConnected);
    const numbers: [string, number][] = [
      ['clients/total', report.clientsConnected + disconnected],
      ['clients/connected', report.clientsConnected],
      ['clients/active', report.clientsConnected],
      ['clients/disconnected', disconnected],
      ['clients/inactive', disconnected],
      ['clients/maximum', this.#clientsMax],
      ['clients/expired', report.clientsExpired],
      ['connections/socket/count', report.connections],
      ['messages/received', report.messagesReceived],
      ['messages/sent', report.messagesSent],
      // mosquitto counts retained messages as stored ones, and has the figure under two names.
      ['messages/stored', totals.queuedMessages + totals.retainedMessages],
      ['store/messages/count', totals.queuedMessages + totals.retainedMessages],
      ['store/messages/bytes', totals.queuedBytes],
      ['publish/messages/received', report.publishReceived],
      ['publish/messages/sent', report.publishSent],
      ['publish/messages/dropped', report.publishDropped],
      ['publish/bytes/received', report.publishBytesReceived],
      ['publish/bytes/sent', report.publishBytesSent],
      ['bytes/received', report.bytesReceived],
      ['bytes/sent', report.bytesSent],
      ['retained messages/count', totals.retainedMessages],
      // mosquitto counts those of sessions that are away, and shared ones apart.
      ['subscriptions/count', report.subscriptions + totals.subscriptions],
      ['shared_subscriptions/count', totals.sharedSubscriptions],
      ['heap/current', report.heapBytes],
      ['heap/maximum', report.heapBytesMax],
    ];
    return [
      ['version', `swarmq version ${VERSION}`],
      ['uptime', `${Math.floor((nowMs - this.#startedMs) / 1000)} seconds`],
      ...numbers.map(([name, value]): [string, string] => [name, String(Math.round(value))]),
    ];
  }

  /** Exponentially weighted rates per minute, as mosquitto computes them. */
  #loadTopics(report: SysReport, nowMs: number): [string, string][] {
    const previous = this.#previous;
    if (!previous || nowMs <= previous.atMs) return [];
    const passedSeconds = (nowMs - previous.atMs) / 1000;
    return LOADS.flatMap(([topic, field]) => {
      const risen = Math.max(0, report[field] - previous.report[field]);
      const perMinute = (risen * 60) / passedSeconds;
      return PERIODS.map(([period, seconds]): [string, string] => {
        const name = `load/${topic}/${period}`;
        const weight = Math.exp(-passedSeconds / seconds);
        const load = perMinute + weight * ((this.#loads.get(name) ?? 0) - perMinute);
        this.#loads.set(name, load);
        return [name, load.toFixed(2)];
      });
    });
  }
}
