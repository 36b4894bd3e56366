// Point clouds and models in a scene that can be turned, moved and zoomed.

import { AmbientLight, Box3, BufferGeometry, Color, DirectionalLight, Float32BufferAttribute, Group, LineBasicMaterial, LineSegments, Mesh, MeshStandardMaterial, type Object3D, PerspectiveCamera, Points, PointsMaterial, Scene, TextureLoader, Vector3, WebGLRenderer } from 'three';
import { OrbitControls } from 'three/addons/controls/OrbitControls.js';
import { PALETTE } from '../charts/palette';
import type { Metadata } from '../api/media';
import { decodePoints } from './npy';

/** What of three's loaders knows a format. */
export const MODELS = ['npy', 'glb', 'gltf', 'obj', 'stl', 'ply'];

/** Corners of a box in the order W&B gives them, by the edges between. */
const EDGES = [[0, 1], [1, 3], [3, 2], [2, 0], [4, 5], [5, 7], [7, 6], [6, 4], [0, 4], [1, 5], [2, 6], [3, 7]] as const;

/** Read what was logged. Throws an Error in a sentence where it is damaged or of a format that isn't known. */
export async function readObject(content: ArrayBuffer, extension: string, metadata: Metadata, ink: string): Promise<Object3D> {
  switch (extension) {
    case 'npy': return pointCloud(content, metadata, ink);
    case 'glb': case 'gltf': return model(content, extension);
    case 'obj': {
      const { OBJLoader } = await import('three/addons/loaders/OBJLoader.js');
      return new OBJLoader().parse(new TextDecoder().decode(content));
    }
    case 'stl': {
      const { STLLoader } = await import('three/addons/loaders/STLLoader.js');
      return new Mesh(new STLLoader().parse(content), new MeshStandardMaterial({ color: PALETTE[0] }));
    }
    case 'ply': {
      const { PLYLoader } = await import('three/addons/loaders/PLYLoader.js');
      return ofPly(new PLYLoader().parse(content), ink);
    }
    default: throw new Error(`Files of the type ${extension || 'unknown'} can't be shown here.`);
  }
}

async function model(content: ArrayBuffer, extension: string): Promise<Object3D> {
  const [{ GLTFLoader }, { toBinary }] = await Promise.all([import('three/addons/loaders/GLTFLoader.js'), import('./gltf')]);
  const loader = new GLTFLoader();
  // The usual loader of textures fetches blob: addresses, which the page's policy forbids; images of them it allows.
  loader.register((parser) => {
    (parser as unknown as { textureLoader: TextureLoader }).textureLoader = new TextureLoader();
    return { name: 'TRACKKIT_textures' };
  });
  return (await loader.parseAsync(extension === 'gltf' ? toBinary(new TextDecoder().decode(content)) : content, '')).scene;
}

function pointCloud(content: ArrayBuffer, metadata: Metadata, ink: string): Object3D {
  const { rows, columns, values } = decodePoints(content);
  const positions = new Float32Array(rows * 3);
  const colors = new Float32Array(rows * 3);
  const plain = new Color(ink);
  const color = new Color();
  for (let row = 0; row < rows; row++) {
    const at = row * columns;
    positions.set(values.subarray(at, at + 3), row * 3);
    if (columns === 6) color.setRGB(values[at + 3]! / 255, values[at + 4]! / 255, values[at + 5]! / 255, 'srgb');
    else if (columns === 4) color.set(PALETTE[(Math.max(1, Math.round(values[at + 3]!)) - 1) % PALETTE.length]!);
    else color.copy(plain);
    color.toArray(colors, row * 3);
  }
  const cloud = cloudOf(positions);
  cloud.geometry.setAttribute('color', new Float32BufferAttribute(colors, 3));
  cloud.material.vertexColors = true;
  const group = new Group();
  group.add(cloud, ...boxesOf(metadata.boxes), ...vectorsOf(metadata.vectors));
  return group;
}

function cloudOf(positions: ArrayLike<number>): Points<BufferGeometry, PointsMaterial> {
  const geometry = new BufferGeometry();
  geometry.setAttribute('position', new Float32BufferAttribute(positions, 3));
  return new Points(geometry, new PointsMaterial({ size: 2.5, sizeAttenuation: false }));
}

function ofPly(geometry: BufferGeometry, ink: string): Object3D {
  const colored = geometry.hasAttribute('color');
  if (geometry.index === null) return new Points(geometry, new PointsMaterial({ size: 2.5, sizeAttenuation: false, vertexColors: colored, color: colored ? '#ffffff' : ink }));
  geometry.computeVertexNormals();
  return new Mesh(geometry, new MeshStandardMaterial({ vertexColors: colored, color: colored ? '#ffffff' : PALETTE[0] }));
}

function boxesOf(given: unknown): Object3D[] {
  const boxes = Array.isArray(given) ? (given as { corners?: number[][]; color?: number[] }[]) : [];
  return boxes.filter((box) => box.corners?.length === 8).map(({ corners, color }) => lines(EDGES.flatMap(([from, to]) => [...corners![from]!, ...corners![to]!]), colorOf(color)));
}

function vectorsOf(given: unknown): Object3D[] {
  const vectors = Array.isArray(given) ? (given as { start?: number[]; end?: number[]; color?: number[] }[]) : [];
  return vectors.filter(({ start, end }) => start?.length === 3 && end?.length === 3).map(({ start, end, color }) => lines([...start!, ...end!], colorOf(color)));
}

function lines(positions: number[], color: Color): Object3D {
  const geometry = new BufferGeometry();
  geometry.setAttribute('position', new Float32BufferAttribute(positions, 3));
  return new LineSegments(geometry, new LineBasicMaterial({ color }));
}

function colorOf(color: number[] | undefined): Color {
  const found = new Color(PALETTE[1]);
  return color?.length === 3 ? found.setRGB(color[0]! / 255, color[1]! / 255, color[2]! / 255, 'srgb') : found;
}

/** One renderer draws all scenes, and hands its picture on: browsers have no more than sixteen graphics contexts. */
let shared: WebGLRenderer | null = null;

function rendered(scene: Scene, camera: PerspectiveCamera, width: number, height: number): HTMLCanvasElement {
  shared ??= new WebGLRenderer({ antialias: true, alpha: true, preserveDrawingBuffer: true });
  shared.setPixelRatio(1);
  shared.setSize(width, height, false);
  shared.render(scene, camera);
  return shared.domElement;
}

/** A scene that is turned, moved and zoomed in a canvas. */
export class Stage3D {
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(45, 1, 0.01, 1000);
  private readonly controls: OrbitControls;
  private readonly context: CanvasRenderingContext2D;

  /** In a panel (`compact`), the wheel and a stroke of the finger scroll the page. */
  constructor(private readonly canvas: HTMLCanvasElement, object: Object3D, compact: boolean) {
    this.context = canvas.getContext('2d')!;
    this.scene.add(new AmbientLight('#ffffff', 1.6), this.camera, object);
    const lamp = new DirectionalLight('#ffffff', 2);
    lamp.position.set(1, 2, 3);
    this.camera.add(lamp);
    this.controls = new OrbitControls(this.camera, canvas);
    if (compact) {
      this.controls.enableZoom = false;
      canvas.style.touchAction = 'pan-y';
    }
    this.look(object);
    // Drawn when something changes; a page of scenes at rest costs nothing.
    this.controls.addEventListener('change', () => this.draw());
  }

  size(width: number, height: number): void {
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
    this.camera.aspect = width / Math.max(1, height);
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  /** Turn by an angle around the upright axis, and tilt; in radians. */
  turn(around: number, tilt: number): void {
    const offset = this.camera.position.clone().sub(this.controls.target);
    offset.applyAxisAngle(new Vector3(0, 1, 0), around);
    const side = new Vector3(0, 1, 0).cross(offset).normalize();
    const tilted = offset.clone().applyAxisAngle(side, tilt);
    if (Math.abs(tilted.clone().normalize().y) < 0.98) offset.copy(tilted);
    this.place(offset);
  }

  zoom(factor: number): void {
    this.place(this.camera.position.clone().sub(this.controls.target).multiplyScalar(factor));
  }

  destroy(): void {
    this.controls.dispose();
    this.scene.traverse((part) => {
      const { geometry, material } = part as Partial<Mesh>;
      geometry?.dispose();
      for (const each of Array.isArray(material) ? material : [material]) each?.dispose();
    });
  }

  private place(offset: Vector3): void {
    this.camera.position.copy(this.controls.target).add(offset);
    this.controls.update();
    this.draw();
  }

  private look(object: Object3D): void {
    const bounds = new Box3().setFromObject(object);
    const middle = bounds.getCenter(new Vector3());
    const radius = Math.max(bounds.getSize(new Vector3()).length() / 2, 1e-6);
    this.camera.near = radius / 100;
    this.camera.far = radius * 100;
    this.camera.position.copy(middle).add(new Vector3(0.7, 0.5, 1).normalize().multiplyScalar(radius * 2.6));
    this.controls.target.copy(middle);
    this.controls.update();
  }

  private draw(): void {
    const { width, height } = this.canvas;
    if (width === 0 || height === 0) return;
    const picture = rendered(this.scene, this.camera, width, height);
    this.context.clearRect(0, 0, width, height);
    this.context.drawImage(picture, 0, 0);
  }
}
