import { kubernetesSuite } from "./suite.ts";
import { openRealCluster } from "./real.ts";
import { realSuite } from "./real-suite.ts";

kubernetesSuite("the cluster", openRealCluster);
realSuite(openRealCluster);
