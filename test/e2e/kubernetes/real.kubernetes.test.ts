import { endsSuite } from "./ends-suite.ts";
import { operatorSuite } from "./operator-suite.ts";
import { kubernetesSuite } from "./suite.ts";
import { rightsSuite } from "./rights-suite.ts";
import { warmSuite } from "./warm-suite.ts";
import { openRealCluster } from "./real.ts";
import { realSuite } from "./real-suite.ts";

kubernetesSuite("the cluster", openRealCluster);
warmSuite("the cluster", openRealCluster);
endsSuite("the cluster", openRealCluster);
rightsSuite("the cluster", openRealCluster);
operatorSuite("the cluster", openRealCluster, { isReal: true });
realSuite(openRealCluster);
