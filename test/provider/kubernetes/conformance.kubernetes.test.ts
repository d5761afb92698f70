import { providerConformance } from "../../conformance/provider.ts";
import { kubernetesGround } from "./provider-ground.ts";

// On the cluster of the kubeconfig that kubectl would use, whose node is this machine.
providerConformance("kubernetes", () =>
  kubernetesGround({
    config: {
      kubeconfigEnv: process.env["KUBECONFIG"],
      image: process.env["HODEI_K8S_TEST_IMAGE"] ?? "hodei-jobs-worker:latest",
    },
    removesNamespace: true,
  }),
);
