// What the main process and a generator tell each other about a load: the job, and the account of what became of it. Data
// only, since it goes through a pipe.

/** How a connection of the load speaks. */
export interface Terms {
  /** 4: MQTT 3.1.1. */
  protocol: 4 | 5;
  isTls: boolean;
  /** Seconds; the load itself never pings, so a round must be shorter. 0: none. */
  keepAlive: number;
}

export interface LoadJob extends Terms {
  /** Publisher i sends to topics[i]. */
  topics: string[];
  /** Above 1: publisher i goes round over topics[i]/0000000, topics[i]/0000001 ... */
  topicsEach: number;
  /** Filters of subscriber j, one each. */
  filters: string[];
  /** Filters with wildcards that are loaded by others and match nothing of this load. */
  idleFilters: number;
  /** Subscribers that get what publisher i sends. */
  copies: number;
  /**
   * What order is asked for. `stream`: each subscriber gets each publisher's numbers in turn. `share`: they are spread over
   * the subscribers, rising for each. `none`: the topics differ, so that no order is promised.
   */
  order: 'stream' | 'share' | 'none';
  isRetained: boolean;
  /** Subscribers connect when the messages are there. */
  subscribesLate: boolean;
  publisherPorts: number[];
  subscriberPorts: number[];
  qos: 0 | 1 | 2;
  /** Messages of one publisher under way at most. */
  window: number;
  payloadBytes: number;
  /** Sessions of the subscribers end with their connection. */
  isClean: boolean;
  /** Messages per second of all publishers together; absent: closed loop. */
  ratePerSecond?: number;
  /** Put before client ids and in front of publisher numbers: several processes do not meet. */
  name: string;
}

export interface LoadCounts {
  micros: number;
  sent: number;
  acked: number;
  received: number;
}

export interface LoadReport {
  marks: LoadCounts[];
  total: LoadCounts;
  lost: number;
  doubled: number;
  late: number;
  /** Acknowledgements of nothing, or of the same message twice. */
  strayAcks: number;
  failures: string[];
  endToEnd: { counts: number[]; max: number };
  ack: { counts: number[]; max: number };
}

/** Connections without traffic. */
export interface CrowdJob extends Terms {
  name: string;
  port: number;
  clients: number;
  isClean: boolean;
  /** Sessions with a subscription each are made first and left again; what is measured is their coming back. */
  isReturning: boolean;
}

export interface CrowdReport {
  /** From the first CONNECT to the last CONNACK. */
  micros: number;
  connected: number;
  /** From opening the socket to CONNACK. */
  latency: { counts: number[]; max: number };
  failures: string[];
}
